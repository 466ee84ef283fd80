"""Carries a group's requests to the arbiter and its epochs to the disk, beside the loop's main work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fttcp.arbiter.base import ArbiterClient
from fttcp.group.kept import Kept
from fttcp.group.readiness import Readiness
from fttcp.group.waiting import epochs_not_kept, takeover_refused
from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.server.verdict import Note

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
        readiness: Readiness,
        note: Note,
    ) -> None:
        """``keep_epoch``: see ``Kept``; ``failed`` closes the group; ``readiness`` and people are told why
        the group may not be owned, and why epochs are not on disk."""
        self._arbiter, self._group = arbiter, group
        self._answered, self._failed = answered, failed
        self._readiness, self._note = readiness, note
        self._epochs = Kept(keep_epoch, self._troubled)
        self._refusal = ""
        self._closed = False
        self._waiting: set[asyncio.Task[None]] = set()

    def ask(self, request: Request) -> None:
        """Carry a request to the arbiter."""
        self._begin(self._ask(request))

    def anticipate(self) -> None:
        """A takeover may be near: let the arbiter find out beforehand what can be."""
        self._arbiter.anticipate(self._group)

    def store(self, epoch: int) -> None:
        """Put the used epochs on disk, sooner or later; the machine uses none before that, and needs none
        as long as nothing changes: a primary outlives its disk."""
        if not self._closed:  # the file may be another group's by now
            self._begin(self._store(epoch))

    def close(self) -> None:
        """Wait for nothing more. What was asked may still be carried out."""
        self._closed = True
        for task in self._waiting:
            task.cancel()

    def describe(self) -> dict[str, Any]:
        """Return what people are shown of the arbiter, and why it lets this node not own the group."""
        return self._arbiter.describe() | {"last_refusal": self._refusal}

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
        if isinstance(request, do.Propose):
            self._settle_refusal(answer.why)
        told = (answer.outcome, answer.record, answer.lease_until_ns, answer.wait_ns)
        self._answered(ev.ArbiterAnswered(request.request, *told))

    def forget_refusal(self) -> None:
        """Nothing is asked for any more: what was refused is over."""
        self._settle_refusal("")

    def _settle_refusal(self, why: str) -> None:
        """Tell why the arbiter lets this node not own the group, if it says so: once."""
        if why != self._refusal:
            self._refusal = why
            self._readiness.hold("arbiter", takeover_refused(why), told=False)
            if why:
                self._note("takeover-refused", "warning", why=why)

    def _troubled(self, why: str) -> None:
        """An epoch was not kept; '' when one is again."""
        self._readiness.hold("epochs", epochs_not_kept(why), told=False)
        if why:
            self._note("epochs-not-kept", "error", why=why)
        else:
            self._note("epochs-kept")

    async def _store(self, epoch: int) -> None:
        self._answered(ev.EpochStored(await self._epochs.store(epoch)))
