"""Numbers that outlive the daemon, on their way to a disk that may be slow, full, or not answer at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

DISK_RETRY_S = 1.0
"""Time between two tries to store on a disk that is full or cannot be written."""
DISK_SLOW_S = 2.0
"""A disk that has not answered after that is in trouble, too."""


class Kept:
    """A number that only grows: the highest one is stored, sooner or later."""

    def __init__(self, save: Callable[[int], None], troubled: Callable[[str], None]) -> None:
        """``save`` stores a number durably (or raises OSError), called in a thread, once at a time;
        ``troubled`` is told why numbers cannot be stored, and '' when they can again."""
        self._save, self._troubled = save, troubled
        self._disk = asyncio.Lock()
        self._stored = 0
        self._why = ""

    async def store(self, number: int) -> int:
        """Return what is stored once it is this number, or a higher one."""
        async with self._disk:  # two at once might leave the smaller number
            while number > self._stored:
                try:
                    await self._write(number)
                    self._stored = number
                except OSError as error:
                    self._trouble(str(error))
                    await asyncio.sleep(DISK_RETRY_S)
            self._trouble("")
        return self._stored

    async def _write(self, number: int) -> None:
        writing = asyncio.ensure_future(_in_a_thread(lambda: self._save(number)))
        done, _ = await asyncio.wait({writing}, timeout=DISK_SLOW_S)
        if not done:
            self._trouble("the disk does not answer")
        await writing

    def _trouble(self, why: str) -> None:
        if why != self._why:
            self._why = why
            self._troubled(why)


async def _in_a_thread(work: Callable[[], None]) -> None:
    """Its own: one that waits for a disk for ever takes none of those that asyncio has for all, and does not
    keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.done():
            return  # nobody waits any more
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        failed: Exception | None = None
        try:
            work()
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, failed)

    threading.Thread(target=run, name="disk", daemon=True).start()
    await done
