"""The log by which one copy of a server follows the calls of another, and how both are started with the
library that keeps it (native/calls). It is laid out in native/core/lockstep/calls.h.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from fttcp._numbers import CallsEnd, CallsFamily, CallsState

LIBRARY = Path(__file__).parents[1] / "libfttcp-calls.so"
ALL = int(sum(CallsFamily))
"""Every family of calls."""
AS_ONE = "setarch -R"
"""What a copy's command begins with: addresses are not drawn, for they get into numbers and orders."""
RINGS = 32
_RING_SIZE = 1 << 20
_PAGE = 4096
_MAGIC = 0x31736C6C61637466
_HEAD = struct.Struct("<QIIIIII")
_STATE = 20
_BREAK = struct.Struct("<IHHIIQQQ16s")
_RING = struct.Struct("<QQQII32xQII48x")
_WHY = {
    CallsEnd.DIFFERS: "another call than the leader's",
    CallsEnd.FULL: "the follower did not keep up",
    CallsEnd.ENDED: "what the leader had did not come",
    CallsEnd.REFUSED: "cannot be followed",
    CallsEnd.DAMAGED: "the memory is damaged",
    CallsEnd.NO_RING: "too many threads",
    CallsEnd.ASKED: "the follower was sent a signal",
}


class CallsError(OSError):
    """The log cannot be made or read; the sentence says why."""


def make(file: Path, patience_ms: int = 5000, families: int = ALL, ring_size: int = _RING_SIZE) -> None:
    """Make the log of one start of a server and its copy, for their owner. ``patience_ms``: so long the
    leader waits for room; ``ring_size``: bytes for each thread, a power of two. Raises CallsError."""
    if not LIBRARY.exists():
        raise CallsError(f"lockstep: {LIBRARY} is missing: run make build")
    try:
        with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "r+b") as new:
            new.write(_HEAD.pack(_MAGIC, ring_size, families, patience_ms, 0, 0, 0))
            os.posix_fallocate(new.fileno(), 0, 2 * _PAGE + RINGS * ring_size)  # later nobody can say why not
    except OSError as error:
        raise CallsError(f"lockstep: {file}: {error.strerror}") from error


def environment(
    file: Path, role: Literal["leader", "follower"], of: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return what a copy's environment needs; ``of``: the one that it is added to."""
    others = of.get("LD_PRELOAD", "")
    return {
        "OPENSSL_ia32cap": "~0x4000000000000010:~0x40000",  # draws by RDRAND, RDSEED, RDTSC are no calls
        "LD_PRELOAD": f"{LIBRARY} {others}".rstrip(),
        "FTTCP_CALLS": str(file),
        "FTTCP_CALLS_ROLE": role,
    }


def end(file: Path) -> None:
    """Let each copy go on by itself, the follower after what is in the log."""
    with file.open("r+b", buffering=0) as log:
        log.seek(_STATE)
        log.write(struct.pack("<I", CallsState.ALONE))


@cache
def _names() -> tuple[str, ...]:
    """Of the calls, by number; the library tells them."""
    found = re.search(rb"FTTCP_CALLS_NAMES((?: \w+)+)", LIBRARY.read_bytes())
    return tuple(found[1].decode().lower().split()) if found else ()


def shown(file: Path) -> dict[str, Any]:
    """Return what is to be told of a log: whether it is followed, how much it held, and where it broke.
    Raises CallsError."""
    try:
        with file.open("rb") as log:
            page, heads = log.read(_PAGE), log.read(_PAGE)
        magic, _, _, _, state, _, _ = _HEAD.unpack_from(page)
        rings = [_RING.unpack_from(heads, i * _RING.size) for i in range(RINGS)]
    except (OSError, struct.error) as error:
        raise CallsError(f"lockstep: {file}: {error}") from error
    if magic != _MAGIC:
        raise CallsError(f"lockstep: {file} is no log of calls")
    used = [ring for ring in rings if ring[0]]
    return {
        "state": CallsState(state).name.lower() if state in tuple(CallsState) else "broken",
        "threads": len(used),
        "calls": sum(ring[2] for ring in used),
        "bytes": sum(ring[1] for ring in used),
        "behind": sum(max(0, ring[1] - ring[5]) for ring in used),
        "broken": _broken(page) if state == CallsState.BROKEN else None,
    }


def _broken(page: bytes) -> dict[str, Any]:
    why, made, said, pid, thread, number, _, _, program = _BREAK.unpack_from(page, _HEAD.size)
    name = program.rstrip(b"\0").decode(errors="replace")
    return {"program": name} | broken(why, made, said, pid, thread, number)


def broken(why: int, made: int, said: int, pid: int, thread: int, number: int) -> dict[str, Any]:
    """Return the numbers of a struct ftt_calls_break in words."""
    names = dict(enumerate(_names()))
    return {
        "why": next((text for end, text in _WHY.items() if end == why), _WHY[CallsEnd.DAMAGED]),
        "call": names.get(made, str(made)),
        "leader_call": names.get(said, str(said)),
        "pid": pid,
        "thread": thread,
        "nth": number,
    }


def sentence(told: Mapping[str, Any]) -> str:
    """Say it in a line."""
    broken = told["broken"]
    if broken is None:
        return f"{told['calls']} calls of {told['threads']} threads, {told['bytes']} bytes of log"
    where = f"{broken['call']} (thread {broken['thread']}, call {broken['nth']}) by {broken['program']}"
    other = f"; the leader's call was {broken['leader_call']}" if broken["leader_call"] != "none" else ""
    return f"broken at {where}: {broken['why']}{other}"
