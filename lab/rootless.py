"""Root of a user namespace, for who is not root of the machine.

All that the lab makes then belongs to a user namespace. The hosts of a lab hold it: it ends with the last of
them, and who does something to a lab enters the one in which its hosts are. See user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import shutil
import signal
import stat
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab.errors import LabError
from lab.state import LABS, PLACE, LabState, directory

CLONE_NEWUTS, CLONE_NEWUSER = 0x04000000, 0x10000000
_KNOBS = {
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user.max_user_namespaces": ("0", "10000"),
}
"""What an administrator forbids user namespaces by: the value that does, and one that does not."""
_ONE_ID = (
    "there is one user id, so servers that change their user do not run. As root: apt-get install uidmap, "
    "and a line for this user in /etc/subuid and in /etc/subgid (subuid(5))"
)
_NO_PRIORITY = (
    "heartbeats have no real-time priority, so on a busy machine a pair may part. As root: a line "
    "`USER - rtprio 50` in /etc/security/limits.conf, and log in again; or longer heartbeats"
)

_libc = ctypes.CDLL(None, use_errno=True)


def become_root(what: str = "the lab", name: str | None = None) -> None:
    """Make this process root, if it is not: in the user namespace of lab `name` if that is up, else in a new
    one. To be called while the process has one thread. Raises LabError with the reason when the machine does
    not allow it."""
    if os.geteuid() == 0:
        return
    _take_place(LABS)
    init = _init_of(name) if name else None
    try:
        if init is None:
            _make_namespace(what)
        else:
            _enter_namespace(init)
    except OSError as error:
        raise LabError(f"{what} needs root, or a user namespace: {_refusal(error)}") from error
    os.environ[PLACE] = str(LABS)


def in_child(do: Callable[[], None]) -> None:
    """Do it in a child of this process, which stays who it is. What ends it is the child's to tell, and
    Ctrl-C its to hear."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = os.fork()
        if child == 0:
            try:
                signal.signal(signal.SIGINT, before)
                do()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(0)
        os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGINT, before)


def _take_place(labs: Path) -> None:
    """Labs are kept where nobody else writes: in /tmp another user may have made a directory of that name."""
    with suppress(FileExistsError):
        labs.mkdir()
    found = labs.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise LabError(f"{labs}: it is not this user's directory; have it removed, or set XDG_RUNTIME_DIR")


def _init_of(lab: str) -> int | None:
    """A process that holds the namespaces of a lab; None when nothing of it runs."""
    if not (directory(lab) / "lab.json").exists():
        return None
    inits = (record.init for record in LabState.load(lab).hosts.values())
    return next((init.pid for init in inits if init.alive()), None)


def _enter_namespace(init: int) -> None:
    namespace = os.open(f"/proc/{init}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(namespace, CLONE_NEWUSER), "setns")
    finally:
        os.close(namespace)


def _make_namespace(what: str) -> None:
    """Only processes that have stayed outside may give the namespace more ids than that of its maker."""
    pid, uid, gid = os.getpid(), os.geteuid(), os.getegid()
    spare = _spare_ids("/etc/subuid", uid), _spare_ids("/etc/subgid", uid)
    many = all(spare) and shutil.which("newuidmap") and shutil.which("newgidmap")
    words = (
        f"newuidmap {pid} 0 {uid} 1 {spare[0]} && newgidmap {pid} 0 {gid} 1 {spare[1]}" if many else "true"
    )
    with subprocess.Popen(
        ["sh", "-c", f"read -r _ && {words}"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as mapper:  # fmt: skip
        _check(_libc.unshare(CLONE_NEWUSER), "unshare")
        _, said = mapper.communicate("go\n")
    if mapper.returncode:
        raise LabError(f"{what} needs user ids of its own: {said.strip()}; see /etc/subuid and /etc/subgid")
    if not many:
        for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", file).write_text(text)
        print(f"note: {_ONE_ID}", file=sys.stderr)
    if not resource.getrlimit(resource.RLIMIT_RTPRIO)[0]:
        print(f"note: {_NO_PRIORITY}", file=sys.stderr)
    _check(_libc.unshare(CLONE_NEWUTS), "unshare")  # a namespace may be allowed, and nothing in it


def _spare_ids(file: str, uid: int) -> str:
    """What newuidmap(1) is told of the ids that a user may give away: 1 and more stand for them; "": none."""
    try:
        names = (pwd.getpwuid(uid).pw_name, str(uid))
        lines = [line.split(":") for line in Path(file).read_text().splitlines()]
    except (FileNotFoundError, KeyError):
        return ""
    own = [line[1:] for line in lines if len(line) == 3 and line[0] in names]
    return f"1 {own[0][0]} {own[0][1]}" if own else ""


def _refusal(error: OSError) -> str:
    """Why the kernel refuses, and what to do."""
    for knob, (closed, opened) in _KNOBS.items():
        file = Path("/proc/sys", *knob.split("."))
        if file.exists() and file.read_text().strip() == closed:
            return f"{knob} is {closed} here; run it with sudo, or as root: sysctl -w {knob}={opened}"
    if not Path("/proc/self/ns/user").exists():
        return "this kernel has none (CONFIG_USER_NS); run it with sudo"
    return f"{error}; a container or a sandbox may forbid them; run it with sudo"


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
