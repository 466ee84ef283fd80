"""Somebody who is not root, among files of this machine that are changed for nobody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.hosts import await_condition

UID = 61234
SPARE_IDS = range(2_000_000, 2_065_536)
RUNTIME = Path(f"/run/user/{UID}")
FTTCP = Path(sys.executable).with_name("fttcp")
_PYTHON = sys.base_prefix
_SET_UP = f"""
person="setpriv --reuid {UID} --regid {UID} --clear-groups"
for file in passwd subuid subgid; do
    touch /etc/$file
    cp /etc/$file "$1/$file"
    mount --bind "$1/$file" /etc/$file
done
echo person:x:{UID}:{UID}::/nowhere:/bin/sh >>/etc/passwd
for file in subuid subgid; do echo person:{SPARE_IDS.start}:{len(SPARE_IDS)} >>/etc/$file; done
if ! $person test -x {_PYTHON}/bin; then  # in a home directory that is closed
    mkdir "$1/python"
    mount --bind {_PYTHON} "$1/python"
    mount -t tmpfs -o mode=755 tmpfs "/$(echo {_PYTHON} | cut -d/ -f2)"
    mkdir -p {_PYTHON}
    mount --bind "$1/python" {_PYTHON}
fi
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p {RUNTIME}
chown {UID}:{UID} {RUNTIME} "$1/home"
"""


class Person:
    """Starts programs as one who is not root, in the namespaces of process ``holder``."""

    def __init__(self, holder: int, nested: bool, home: Path, environment: Sequence[str]) -> None:
        self._begin = [
            "nsenter", "-t", str(holder), "-m", *(["-U", "--preserve-credentials"] if nested else []),
            f"--wdns={home}", "setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups",
            "env", "-i", f"HOME={home}", f"TMPDIR={home}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *environment,
        ]  # fmt: skip

    def popen(self, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program; `options` are those of subprocess.Popen."""
        return subprocess.Popen([*self._begin, *argv], text=True, **options)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run([*self._begin, *argv], text=True, capture_output=True, timeout=120)

    def fttcp(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of fttcp to its end."""
        return self.run(str(FTTCP), *words)


@contextmanager
def person(environment: Sequence[str] = (), more: str = "", nested: bool = False) -> Iterator[Person]:
    """Let there be one, with a home directory, RUNTIME, and ids to give away (subuid(5)). ``environment``: of
    what it starts, as NAME=VALUE. ``more``: what else root does before, in a shell, where $1 is a directory;
    ``nested``: in a user namespace, whose limits can be set."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    (place / "home").mkdir()
    script = f"{_SET_UP}\n{more}\necho ready; read -r _"
    holder = subprocess.Popen(
        ["unshare", *(["--user"] if nested else []), "--mount", "--propagation", "private", "sh", "-c",
         'read -r _; exec sh -euc "$@"', "-", script, "-", str(place)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdin and holder.stdout and holder.stderr
    try:
        if nested:
            await_condition(
                lambda: _user_namespace(holder.pid) != _user_namespace(os.getpid()), 10, "unshare"
            )
            for kind in ("uid", "gid"):
                Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 0 65536")
        print("go", file=holder.stdin, flush=True)
        if holder.stdout.readline() != "ready\n":
            raise RuntimeError(holder.stderr.read())
        yield Person(holder.pid, nested, place / "home", environment)
    finally:
        holder.communicate("end\n")
        shutil.rmtree(place)


def _user_namespace(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/user").readlink())


def processes() -> list[int]:
    """The pids of what a person has started."""
    owners = {UID, *SPARE_IDS}
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and entry.stat().st_uid in owners:
                found.append(int(entry.name))
        except FileNotFoundError:
            continue
    return found
