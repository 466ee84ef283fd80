"""What differs between two copies of a directory, and what is done about it. Pure.

A file's newest version wins: that of the later modification time. What the loser had changed since both were
the same is kept beside it. Who has deleted a file is known from the last time at which both had it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple

_NS = 1_000_000_000
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
"""Years 1 to 9999: file systems know others, too."""
_NAME_BYTES = 255
"""Of a file's name, on Linux."""


class Version(NamedTuple):
    """One entry of a directory as one host has it."""

    kind: str
    """`file`, `dir` or `link`."""
    size: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    target: str
    """Of a link."""
    ctime_ns: int
    """By its host's kernel: it moves with every change, also of attributes."""


Tree = Mapping[str, Version]
"""By paths below the directory."""
Base = Mapping[str, tuple[Version, Version]]
"""What both hosts had when they had the same: here, there."""


@dataclass(slots=True)
class Plan:
    """What is to be done, in this order: what loses is kept, deletions, copies."""

    keep_here: list[str] = field(default_factory=list)
    keep_there: list[str] = field(default_factory=list)
    """Kept beside the newer version that comes."""
    remove_here: list[str] = field(default_factory=list)
    remove_there: list[str] = field(default_factory=list)
    pull: list[str] = field(default_factory=list)
    push: list[str] = field(default_factory=list)
    clashes: list[str] = field(default_factory=list)
    """A directory on one host and something else on the other: left alone, with what is below."""

    left: list[str] = field(default_factory=list)
    """Deleted by one of the two, by whose right is not known."""

    @property
    def empty(self) -> bool:
        """True if both are the same."""
        return not any(getattr(self, name) for name in self.__slots__)


def same(one: Version, other: Version) -> bool:
    """True if two hosts have the same."""
    return _same_content(one, other) and _attributes(one) == _attributes(other)


def decide(base: Base, here: Tree, there: Tree, master: str | None) -> Plan:
    """Return what makes both the same. ``master``: whose deletions count: `here`, `there`; `elsewhere`: a
    third node's, or it is not known: what one has deleted is left as it is; None: nobody's."""
    plan, clashes = Plan(), set[str]()
    for path in sorted(here.keys() | there.keys()):
        ours, theirs, known = here.get(path), there.get(path), base.get(path)
        if clashes and not clashes.isdisjoint(map(str, PurePosixPath(path).parents)):
            continue
        if ours is not None and theirs is not None:
            if (ours.kind == "dir") != (theirs.kind == "dir"):
                clashes.add(path)
            else:
                _decide_both(plan, path, ours, theirs, known)
        elif ours is not None:
            gone = known is not None and not _touched(known[0], ours)
            fates = {"there": plan.remove_here, "elsewhere": plan.left}
            (fates.get(master or "", plan.push) if gone else plan.push).append(path)
        elif theirs is not None:
            gone = known is not None and not _touched(known[1], theirs)
            fates = {"here": plan.remove_there, "elsewhere": plan.left}
            (fates.get(master or "", plan.pull) if gone else plan.pull).append(path)
    plan.clashes = sorted(clashes)
    for stays, copied in (
        (plan.remove_here, plan.push),
        (plan.left, plan.push),
        (plan.remove_there, plan.pull),
        (plan.left, plan.pull),
    ):
        _save_parents(stays, copied)
    return plan


def next_base(base: Base, here: Tree, there: Tree) -> dict[str, tuple[Version, Version]]:
    """Return what is known to be the same now; where it is not, what was known before."""
    found: dict[str, tuple[Version, Version]] = {}
    for path in here.keys() | there.keys():
        ours, theirs = here.get(path), there.get(path)
        if ours is not None and theirs is not None and same(ours, theirs):
            found[path] = (ours, theirs)
        elif path in base:
            found[path] = base[path]
    return found


def kept_name(path: str, host: str, version: Version, number: int = 1) -> str:
    """Return where the version of a host that loses is kept: `NAME.conflict-HOST-TIME`, beside it.
    ``number``: to be raised while that is taken."""
    seconds = min(max(version.mtime_ns // _NS, _FIRST_S), _LAST_S)
    at = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
    end = f".conflict-{host}-{at}" + (f"-{number}" if number > 1 else "")
    name = PurePosixPath(path).name.encode(errors="surrogateescape")[: _NAME_BYTES - len(end)]
    return str(PurePosixPath(path).with_name(name.decode(errors="surrogateescape") + end))


def _decide_both(
    plan: Plan, path: str, ours: Version, theirs: Version, known: tuple[Version, Version] | None
) -> None:
    ours_new = known is None or _touched(known[0], ours)
    theirs_new = known is None or _touched(known[1], theirs)
    if _same_content(ours, theirs):
        if known is None and same(ours, theirs):
            return
        if (
            ours_new != theirs_new
        ):  # its mode, its owner; or ACLs and other attributes, which nobody has listed
            (plan.push if ours_new else plan.pull).append(path)
        elif not same(ours, theirs):
            (plan.push if ours.ctime_ns > theirs.ctime_ns else plan.pull).append(path)
        return
    if _age(ours) > _age(theirs):
        plan.push.append(path)
        if theirs_new:
            plan.keep_there.append(path)
    else:
        plan.pull.append(path)
        if ours_new:
            plan.keep_here.append(path)


def _save_parents(removed: list[str], copied: Iterable[str]) -> None:
    """A directory stays, and is copied, if something below it is copied."""
    parents = {str(parent) for path in copied for parent in PurePosixPath(path).parents}
    saved = [path for path in removed if path in parents]
    removed[:] = [path for path in reversed(removed) if path not in parents]  # what is below goes first
    if saved:
        assert isinstance(copied, list)
        copied[:] = sorted([*copied, *saved])


def _same_content(one: Version, other: Version) -> bool:
    if one.kind != other.kind:
        return False
    if one.kind == "file":
        return one.size == other.size and _same_time(one.mtime_ns, other.mtime_ns)
    return one.target == other.target


def _same_time(one_ns: int, other_ns: int) -> bool:
    """A file system may keep whole seconds only."""
    whole = one_ns % _NS == 0 or other_ns % _NS == 0
    return one_ns == other_ns or (whole and one_ns // _NS == other_ns // _NS)


def _attributes(version: Version) -> tuple[int, ...]:
    mode = 0 if version.kind == "link" else version.mode
    return mode, version.uid, version.gid


def _touched(known: Version, now: Version) -> bool:
    """True if it is not what it was. A directory's times move with what is in it."""
    if known.kind == now.kind == "dir":
        return _attributes(known) != _attributes(now)
    return known.ctime_ns != now.ctime_ns or known[:-1] != now[:-1]


def _age(version: Version) -> tuple[int, int, str, str]:
    """By what the newer version is found: two hosts find the same."""
    return version.mtime_ns, version.size, version.kind, version.target
