"""Process 1 of a lab host: makes the namespaces, sets up the host's own view of files, then does nothing.

Run as a plain script: ``python3 -I -S init.py HOST_DIRECTORY``, with pipes as stdin and stdout. It prints its
pid, then waits for a line: its maker records the pid first, and only then lets it go on. When the maker dies
before that, the end of the pipe ends this process, and with it the namespaces. Then it prints ``ready``, or
what is wrong. Last it becomes ``sleep infinity`` with SIGCHLD ignored, so that the kernel reaps every orphan.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000

PRIVATE_TREES = {"var-log": "/var/log", "srv": "/srv", "var-lib-nginx": "/var/lib/nginx", "run": "/run"}
"""Directory of the host -> where the host sees it. /run comes last: it may hide the lab's own directory."""

UNKNOWN = 65534
"""What owns whatever belongs to users that are not in our user namespace."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, None), f"mount on {target}")


def _copy_empty_directories(source: Path, target: Path) -> None:
    """Make in `target` what servers expect to find: the first-level directories of `source`, empty."""
    for entry in source.iterdir():
        if entry.is_dir() and not entry.is_symlink() and not (target / entry.name).exists():
            (target / entry.name).mkdir()
            shutil.copystat(entry, target / entry.name)
            owner = entry.stat()
            if UNKNOWN in (owner.st_uid, owner.st_gid):
                (target / entry.name).chmod(0o1777)
            else:
                os.chown(target / entry.name, owner.st_uid, owner.st_gid)


def _set_up_files(home: Path) -> None:
    """Give this host its own /proc, /sys and writable directories; `home` keeps its path."""
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name, target in PRIVATE_TREES.items():
        source = home / name
        source.mkdir(exist_ok=True)
        if not Path(target).is_dir():
            continue
        if name == "var-log":
            _copy_empty_directories(Path(target), source)
        if name == "run":
            (source / "lock").mkdir(exist_ok=True)
            (source / "lock").chmod(0o1777)
            if home.is_relative_to("/run"):
                inner_home = source / home.relative_to("/run")
                inner_home.mkdir(parents=True, exist_ok=True)
                _mount(str(home), str(inner_home), "", MS_BIND)
        _mount(str(source), target, "", MS_BIND | MS_REC)


def _show_accounts(home: Path) -> None:
    """Of a user namespace root may not read the machine's passwords: here nobody has one."""
    machine, own = Path("/etc/shadow"), home / "shadow"
    if not machine.exists() or os.access(machine, os.R_OK):
        return
    names = (line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines())
    own.write_text("".join(f"{name}:*:::::::\n" for name in names))
    own.chmod(0o600)
    _mount(str(own), str(machine), "", MS_BIND)


def _hold(home: Path) -> None:
    """The life of process 1; does not return."""
    os.setsid()
    if not sys.stdin.readline():
        sys.exit(1)
    _set_up_files(home)
    _show_accounts(home)
    null = os.open("/dev/null", os.O_RDWR)
    print("ready", flush=True)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir("/")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.execvp("sleep", ["sleep", "infinity"])


def main() -> None:
    """Make the namespaces, and process 1 in them."""
    home = Path(sys.argv[1])
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET), "unshare (net, mount, pid)")
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        return
    _hold(home)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        print(f"failed: {error}", flush=True)
        sys.exit(1)
