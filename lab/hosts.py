"""A host of the lab: its namespaces, and processes inside them."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.state import LABS, ProcessId

CLONE_NEWPID = 0x20000000
FRESH_AT_START = ("run", "var-lib-nginx")
"""What a host loses when it goes down, as a real one would: its /run, and scratch files of servers."""

_MEMORY = Path("/dev/shm")
_RUN_BYTES = 256 << 20
"""For /run: what a server in lock step shares with its engine needs 68 MiB, as groups are by default."""

_START_S, _TOOL_S = 30.0, 60.0

_libc = ctypes.CDLL(None, use_errno=True)


def forget(home: Path, names: Sequence[str] = ("run",)) -> None:
    """Remove directories of a host; one that is a link goes with what it leads to."""
    for directory in (home / name for name in names):
        if directory.is_symlink():
            shutil.rmtree(directory.resolve(), ignore_errors=True)
            directory.unlink()
        elif directory.exists():
            shutil.rmtree(directory)


def _make_run(home: Path) -> None:
    """Make a host's /run: in memory, as on a real one. On a disk each packet of a server in lock step would
    wait for the file system."""
    room = shutil.disk_usage(_MEMORY).free if _MEMORY.is_dir() else 0
    inside = _MEMORY / "-".join(home.parts[1:])
    in_memory = home.is_relative_to("/run") and os.path.ismount("/run")
    if home.is_relative_to(LABS) and not in_memory and room >= _RUN_BYTES:
        shutil.rmtree(inside, ignore_errors=True)
        inside.mkdir(mode=0o755)
        (home / "run").symlink_to(inside)


class Process(subprocess.Popen[Any]):
    """A process that is killed when an exception leaves its `with` block, which else waits for its end: what
    somebody else waits for in vain would make him wait for ever. It is that exception that is told, not
    that what it was still to be sent could not be."""

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is None:
            super().__exit__(kind, *rest)
            return
        self.kill()
        with suppress(BrokenPipeError):
            super().__exit__(kind, *rest)


@dataclass(frozen=True)
class Host:
    """A host that was started: `init` holds its namespaces, `home` its files.

    Files under `home`: root/ (working directory of the servers), log/ (daemon's log), run/ (its /run),
    var-log/, srv/, var-lib-nginx/ (its private copies of those directories).
    """

    name: str
    home: Path
    init: ProcessId

    @classmethod
    def start(cls, name: str, home: Path, record: Callable[[ProcessId], None]) -> Host:
        """Make the host; `record` is called with its init before anything is made that could outlive us.

        Raises LabError with the reason when the kernel refuses.
        """
        forget(home, FRESH_AT_START)
        for needed in ("root", "log"):
            (home / needed).mkdir(parents=True, exist_ok=True)
        _make_run(home)
        maker = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("init.py")), str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert maker.stdin and maker.stdout
        with maker.stdin, maker.stdout:
            with at_the_latest(_START_S, maker.kill):
                first = maker.stdout.readline().strip()
                maker.wait()
            if not first.isdecimal():
                raise LabError(
                    f"host {name}: cannot make its namespaces ({first or 'no answer'}); "
                    "the lab needs root and a kernel with network, mount and pid namespaces"
                )
            init = ProcessId.of(int(first))
            record(init)
            maker.stdin.write("go\n")
            maker.stdin.flush()
            with at_the_latest(_START_S, lambda: init.signal(signal.SIGKILL)):
                answer = maker.stdout.readline().strip()
        if answer != "ready":
            init.signal(signal.SIGKILL)
            raise LabError(f"host {name}: cannot set up its files under {home} ({answer or 'init died'})")
        return cls(name, home, init)

    def popen(self, argv: Sequence[str], *, cwd: str | Path | None = None, **options: Any) -> Process:
        """Start a process in this host; `options` are those of subprocess.Popen.

        The returned process is the one in the host itself (nothing stands between), so its pid, signals and
        exit status are exact. `cwd` is a directory as the host sees it; default: the caller's, or / where the
        host has no such directory. A command that does not exist ends with status 127.
        """
        self.require_alive()
        directory = str(cwd) if cwd is not None else self._own_cwd()
        enter = ["nsenter", "-t", str(self.init.pid), "-n", "-m", f"--wdns={directory}", "--", *argv]
        with ThreadPoolExecutor(1) as maker:  # a thread whose children are born there, and which then ends
            return maker.submit(self._popen_there, enter, options).result()

    def _popen_there(self, argv: Sequence[str], options: dict[str, Any]) -> Process:
        namespace = os.open(f"/proc/{self.init.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if _libc.setns(namespace, CLONE_NEWPID) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"setns: {os.strerror(number)}")
        finally:
            os.close(namespace)
        return Process(argv, **options)

    def run(self, argv: Sequence[str], *, text_input: str | None = None) -> str:
        """Run a tool on this host's network (with the machine's files) and return what it prints.

        Raises LabError with the tool's own words when it fails or is not installed.
        """
        try:
            done = subprocess.run(
                ["nsenter", "-t", str(self.init.pid), "-n", "--", *argv],
                input=text_input,
                text=True,
                capture_output=True,
                timeout=_TOOL_S,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"host {self.name}: {' '.join(argv)}: no end after {_TOOL_S:g} s") from None
        if done.returncode != 0:
            detail = "\n".join(filter(None, (done.stderr.strip(), done.stdout.strip(), text_input)))
            raise LabError(
                f"host {self.name}: {' '.join(argv)} failed with status {done.returncode}: {detail}"
            )
        return done.stdout

    def alive(self) -> bool:
        """Whether the host runs. (An init that is killed but not yet reaped has no namespaces any more.)"""
        return self.init.alive() and _namespace_of(self.init.pid) is not None

    def require_alive(self) -> None:
        """Raise LabError when the host is down."""
        if not self.alive():
            raise LabError(
                f"host {self.name}: it is down; bring it back with: fttcp lab fault restart-host {self.name}"
            )

    def path(self, inner: str) -> Path:
        """The file that this host sees as `inner` (absolute), as seen from outside."""
        return Path(f"/proc/{self.init.pid}/root{inner}")

    def processes(self) -> list[int]:
        """Pids (the machine's) of all living processes of this host."""
        namespace = _namespace_of(self.init.pid)
        return _processes_in(namespace) if namespace is not None else []

    def inner_pid(self, outer: int) -> int:
        """The pid by which this host knows its process `outer`; raises LabError when that has ended."""
        inner = _pid_inside(outer)
        if inner is None:
            raise LabError(f"host {self.name}: process {outer} has ended")
        return inner

    def kill(self) -> None:
        """Kill every process of the host at once; returns when none is left. A host that is down stays so."""
        namespace = _namespace_of(self.init.pid) if self.alive() else None
        self.init.signal(signal.SIGKILL)
        if namespace is not None:
            await_condition(
                lambda: not _processes_in(namespace), 10, f"host {self.name}: the end of its processes"
            )

    def _own_cwd(self) -> str:
        here = str(Path.cwd())
        return here if self.path(here).is_dir() else "/"


def await_condition(
    condition: Callable[[], bool], timeout_s: float, what: str, interval_s: float = 0.005
) -> None:
    """Return when `condition()` holds; raises LabError naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise LabError(f"{what}: waited {timeout_s:g} s in vain")
        time.sleep(interval_s)


@contextmanager
def at_the_latest(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Call `act` from a thread when the block lasts longer: it is to end what the block waits for."""
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _namespace_of(pid: int) -> str | None:
    """The pid namespace of process `pid`; None when it has ended, or is none of ours to see.

    A process that has ended but is not reaped yet still shows its pid namespace, but no network namespace.
    """
    try:
        Path(f"/proc/{pid}/ns/net").readlink()
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None


def _processes_in(namespace: str) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [pid for pid in pids if _namespace_of(pid) == namespace]


def _pid_inside(pid: int) -> int | None:
    """The pid of process `pid` (the machine's) in its own namespace, None when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next(int(line.split()[-1]) for line in lines if line.startswith("NSpid:"))
