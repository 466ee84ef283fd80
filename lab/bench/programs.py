"""The programs that the bench runs: its own, built from C, and those of others, as far as they are there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from lab.errors import LabError

HERE = Path(__file__).parent
NATIVE = HERE / "native"
INSTALLED = HERE.parents[1].name == "_lab"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fttcp" / "bench"
BUILD = CACHE if INSTALLED else NATIVE / "build"
"""Not among installed files: those belong to whoever installed them."""
SERVE, LOAD, FLOOR = (str(BUILD / name) for name in ("serve", "load", "floor"))
CLIENT = str(HERE / "client.py")
FLOOD = str(HERE.parent / "workloads" / "flood.py")

VERSION_OPTION = {
    "iperf3": "--version",
    "wrk": "--version",
    "nginx": "-v",
    "haproxy": "-v",
    "keepalived": "--version",
    "iptables": "--version",
}
PACKAGE = {"nginx": "nginx-light"}


def bpf() -> str:
    """Return the path of ``fttcp-bpf``. Raises LabError when it was not built."""
    import fttcp

    path = Path(fttcp.__file__).parent / "fttcp-bpf"
    if not path.exists():
        raise LabError(f"{path}: what loads programs into the kernel is missing: run make build")
    return str(path)


def build() -> None:
    """Compile what is newer than its program; raises LabError with the compiler's words."""
    try:
        done = subprocess.run(
            ["make", "-s", "-C", str(NATIVE), f"BUILD={BUILD}"], capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise LabError("make is not installed: apt-get install build-essential") from error
    if done.returncode:
        raise LabError(f"the bench's own programs in {NATIVE} could not be built:\n{done.stderr.strip()}")


@cache
def version(program: str) -> str | None:
    """Return the version of `program`, None when it is not installed."""
    if shutil.which(program) is None:
        return None
    done = subprocess.run([program, VERSION_OPTION[program]], capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[\w.+~-]*", done.stdout + done.stderr)
    return found[0] if found else "unknown"


def missing(programs: tuple[str, ...]) -> str:
    """Return which of `programs` are not installed and what to do, "" when all are there."""
    absent = [program for program in programs if version(program) is None]
    if not absent:
        return ""
    packages = " ".join(PACKAGE.get(program, program) for program in absent)
    return f"{' and '.join(absent)} not installed: apt-get install {packages}"
