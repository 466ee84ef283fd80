"""Carries a group's requests to the arbiter and its epochs to the disk, beside the loop's main work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fttcp.arbiter.base import ArbiterClient
from fttcp.core import commands as do
from fttcp.core import events as ev

Request = do.Propose | do.RenewLease | do.Inquire


class Ownership:
    """What one group waits for; every answer becomes an event of the role machine."""

    def __init__(
        self,
        arbiter: ArbiterClient,
        group: str,
        keep_epoch: Callable[[int], None],
        answered: Callable[[ev.Event], None],
        failed: Callable[[str], None],
    ) -> None:
        """``keep_epoch`` stores a number durably, called in a thread; ``failed`` closes the group."""
        self._arbiter, self._group, self._keep_epoch = arbiter, group, keep_epoch
        self._answered, self._failed = answered, failed
        self._waiting: set[asyncio.Task[None]] = set()

    def ask(self, request: Request) -> None:
        """Carry a request to the arbiter."""
        self._begin(self._ask(request))

    def store(self, epoch: int) -> None:
        """Put the used epochs on disk; the machine uses none before that."""
        self._begin(self._store(epoch))

    def close(self) -> None:
        """Wait for nothing more. What was asked may still be carried out."""
        for task in self._waiting:
            task.cancel()

    def describe(self) -> dict[str, Any]:
        """Return what people are shown of the arbiter."""
        return self._arbiter.describe()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._waiting.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._waiting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(f"its ownership cannot be kept: {type(error).__name__}: {error}")

    async def _ask(self, request: Request) -> None:
        match request:
            case do.Propose(expected=expected, wanted=wanted):
                answer = await self._arbiter.propose(self._group, expected, wanted)
            case do.RenewLease(record=record):
                answer = await self._arbiter.renew(self._group, record)
            case do.Inquire():
                answer = await self._arbiter.inquire(self._group)
        told = (answer.outcome, answer.record, answer.lease_until_ns, answer.wait_ns)
        self._answered(ev.ArbiterAnswered(request.request, *told))

    async def _store(self, epoch: int) -> None:
        await asyncio.to_thread(self._keep_epoch, epoch)
        self._answered(ev.EpochStored(epoch))
