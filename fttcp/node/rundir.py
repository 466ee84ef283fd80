"""The run directory belongs to one process at a time: its lock is the pid file's."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PID_FILE = "fttcp.pid"


class BusyError(Exception):
    """Another process has the run directory; ``pid`` as its pid file says, perhaps ''."""

    def __init__(self, run_dir: Path, pid: str) -> None:
        super().__init__(f"{run_dir}: another fttcp node runs here (pid {pid or 'unknown'})")
        self.pid = pid


class Lock:
    """The pid file, locked."""

    def __init__(self, run_dir: Path) -> None:
        """Raises BusyError if another process has it."""
        self._path = run_dir / PID_FILE
        self._file = self._take()

    def _take(self) -> IO[str]:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._path.open("a+", encoding="ascii"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise BusyError(self._path.parent, file.read(20).strip()) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            stack.pop_all()
            return file

    def restore(self) -> bool:
        """Make the file again, if somebody has removed it; say whether it was so. Raises BusyError if another
        process was faster."""
        if self._is_there():
            return False
        file = self._take()
        self._file.close()
        self._file = file
        return True

    def _is_there(self) -> bool:
        """True unless somebody has removed it; then there may be one of another process."""
        try:
            return os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Remove it, and let others have it."""
        if self._is_there():
            self._path.unlink()
        self._file.close()


@contextmanager
def only_one(run_dir: Path) -> Iterator[Lock]:
    """Hold the run directory's lock and pid file. Raises BusyError if another process has them."""
    lock = Lock(run_dir)
    try:
        yield lock
    finally:
        lock.close()
