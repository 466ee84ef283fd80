"""Tells programs of the operator about events: a command for each, and a FIFO that a program may read."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from fttcp.report.events import Event
from fttcp.report.outlets import text_of

_PIPE_BUF = 4096
_FRAME = ("number", "time", "level", "node", "group", "event")


class NotifyError(Exception):
    """The FIFO cannot be made; the sentence says why."""


def environment(event: Event) -> dict[str, str]:
    """Return what a hook finds in its environment: FTTCP_<FIELD> for each field, and FTTCP_JSON. What other
    programs said may have a NUL, which no environment can have: it is written `\\0`."""
    fields = {
        f"FTTCP_{name.upper().replace('-', '_')}": text_of(value).replace("\0", "\\0")
        for name, value in event.items()
    }
    return fields | {"FTTCP_JSON": json.dumps(event, default=str)}


class HookSink:
    """Runs a command for each event of the wanted kinds, one after the other, as they happened."""

    def __init__(self, command: str, kinds: Collection[str], timeout_s: float) -> None:
        """``command``: a program, started without arguments; killed after ``timeout_s``."""
        self._command, self._kinds, self._timeout_s = command, frozenset(kinds), timeout_s

    def write(self, event: Event) -> None:
        """Run the command and wait for it. Raises OSError if it cannot be run, fails or takes too long."""
        if event["event"] not in self._kinds:
            return
        process = subprocess.Popen(
            [self._command],
            env=os.environ | environment(event),
            stdin=subprocess.DEVNULL,
            stdout=2,
            start_new_session=True,
        )
        try:
            status = process.wait(self._timeout_s)
        except subprocess.TimeoutExpired as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise OSError(errno.ETIMEDOUT, f"killed after {self._timeout_s:g} s", self._command) from error
        if status:
            raise OSError(errno.ECHILD, f"ended with status {status}", self._command)

    def close(self) -> None:
        """Nothing to do."""


class FifoSink:
    """Writes one JSON line for each event into a FIFO. Without a reader, or with a full pipe, it is lost."""

    def __init__(self, path: Path) -> None:
        """Make the FIFO, if it is not there. Raises NotifyError."""
        self.lost = 0
        self._path = path
        try:
            self._made = not path.exists()
            if self._made:
                os.mkfifo(path, 0o600)
            elif not stat.S_ISFIFO(path.stat().st_mode):
                raise NotifyError(
                    f"node.notify.fifo: {path} exists and is no FIFO: remove it, or name another"
                )
        except OSError as error:
            raise NotifyError(f"node.notify.fifo: {path} cannot be made: {error.strerror}") from error
        self._fd = -1

    def write(self, event: Event) -> None:
        """Write one line, whole or not at all. Raises OSError."""
        line = json.dumps(event, default=str).encode() + b"\n"
        if len(line) > _PIPE_BUF:
            short = {name: event[name] for name in _FRAME if name in event} | {"shortened": True}
            line = json.dumps(short).encode() + b"\n"
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._fd, line)
        except BlockingIOError:
            self.lost += 1  # the reader does not read
        except (BrokenPipeError, FileNotFoundError):
            self._hang_up()
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads
                raise
            self.lost += 1

    def _hang_up(self) -> None:
        self.lost += 1
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Close the FIFO, and remove it if it was made here."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._made:
            self._path.unlink(missing_ok=True)
