"""The run directory belongs to one process at a time: its lock is the pid file's."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PID_FILE = "fttcp.pid"


class BusyError(Exception):
    """Another process has the run directory; ``pid`` as its pid file says, perhaps ''."""

    def __init__(self, run_dir: Path, pid: str) -> None:
        super().__init__(f"{run_dir}: another fttcp node runs here (pid {pid or 'unknown'})")
        self.pid = pid


@contextmanager
def only_one(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock and pid file. Raises BusyError if another process has them."""
    path = run_dir / PID_FILE
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("a+", encoding="ascii"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise BusyError(run_dir, file.read(20).strip()) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
