"""Two copies of a directory, changed at will: what a copy makes of them. And when copies are made."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fttcp.sync.schedule import QuietHours, Timetable
from fttcp.sync.versions import Base, Plan, Tree, Version, decide, kept_name, next_base, same

S = 1_000_000_000
PATHS = ("a", "b", "d", "d/x", "d/y")
EDITS = st.lists(
    st.tuples(
        st.sampled_from(("here", "there")),
        st.sampled_from(("a", "b", "d/x", "d/y")),
        st.sampled_from(("write", "chmod", "delete", "write old")),
    ),
    max_size=8,
)
MASTERS = st.sampled_from((None, "here", "there"))


class Host:
    """A model of one host's directory: what an edit or a copy makes of it, with a clock of its own."""

    def __init__(self, name: str, ctime: int) -> None:
        self.name, self.clock = name, ctime
        self.tree: dict[str, Version] = {}

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def make_parent(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder and folder not in self.tree:
            self.tree[folder] = Version("dir", 0, 0, 0o755, 0, 0, "", self.tick())

    def edit(self, path: str, how: str, mtime: int) -> None:
        old = self.tree.get(path)
        if how.startswith("write"):
            self.make_parent(path)
            at = mtime if how == "write" else 7 * S + mtime // S
            self.tree[path] = Version("file", 10, at, 0o644, 0, 0, "", self.tick())
        elif old is not None and how == "chmod":
            self.tree[path] = old._replace(mode=old.mode ^ 0o100, ctime_ns=self.tick())
        elif old is not None:
            del self.tree[path]

    def take(self, path: str, version: Version) -> None:
        """As rsync --update does."""
        old = self.tree.get(path)
        if old is None or old.kind != "file" or old.mtime_ns <= version.mtime_ns:
            self.tree[path] = version._replace(ctime_ns=self.tick())

    def keep(self, path: str) -> str:
        name = kept_name(path, self.name, self.tree[path])
        self.tree[name] = self.tree[path]
        return name


def copy(base: Base, here: Host, there: Host, master: str | None) -> tuple[Base, Plan]:
    plan = decide(base, dict(here.tree), dict(there.tree), master)
    for host, kept, removed in (
        (here, plan.keep_here, plan.remove_here),
        (there, plan.keep_there, plan.remove_there),
    ):
        for path in kept:
            host.keep(path)
        for path in removed:
            assert not any(other.startswith(path + "/") for other in host.tree), (
                "a directory before what is in it"
            )
            del host.tree[path]
    for source, target, paths in ((there, here, plan.pull), (here, there, plan.push)):
        for path in paths:
            folder = path.rpartition("/")[0]
            assert not folder or folder in target.tree, "its directory is not there"
            target.take(path, source.tree[path])
    return next_base(base, here.tree, there.tree), plan


def contents(tree: Tree) -> set[int]:
    return {version.mtime_ns for version in tree.values() if version.kind == "file"}


@given(st.lists(st.tuples(EDITS, MASTERS), max_size=5))
def test_both_become_the_same_and_no_change_is_lost(
    rounds: list[tuple[list[tuple[str, str, str]], str | None]],
) -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    base: Base = {}
    mtime = 1000 * S
    for edits, master in rounds:
        written: dict[str, set[int]] = {"here": set(), "there": set()}
        for side, path, how in edits:
            mtime += S
            host = here if side == "here" else there
            old = host.tree.get(path)
            host.edit(path, how, mtime)
            if old is not None and how != "chmod":
                written[side].discard(old.mtime_ns)  # by the one who edits
            if how.startswith("write"):
                written[side].add(host.tree[path].mtime_ns)
        base, _ = copy(base, here, there, master)
        base, again = copy(base, here, there, master)  # what was kept is spread
        base, last = copy(base, here, there, master)
        assert last.empty and not again.keep_here and not again.keep_there
        assert here.tree.keys() == there.tree.keys()
        assert all(same(version, there.tree[path]) for path, version in here.tree.items())
        assert written["here"] | written["there"] <= contents(here.tree)


@given(st.sets(st.sampled_from(("a", "b", "d/x"))), st.sets(st.sampled_from(("a", "b", "d/x"))), MASTERS)
def test_only_the_master_s_deletions_are_carried_out(
    gone_here: set[str], gone_there: set[str], master: str | None
) -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    for number, path in enumerate(("a", "b", "d/x")):
        here.edit(path, "write", (number + 1) * S)
    base, _ = copy({}, here, there, master)
    for host, gone in ((here, gone_here), (there, gone_there)):
        for path in gone:
            host.edit(path, "delete", 0)
    base, _ = copy(base, here, there, master)
    lost = {"here": gone_here, "there": gone_there}.get(master or "", set()) | (gone_here & gone_there)
    assert {path for path, version in here.tree.items() if version.kind == "file"} == {"a", "b", "d/x"} - lost
    assert here.tree.keys() == there.tree.keys()


def test_who_has_changed_what_the_master_deleted_keeps_it() -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    here.edit("d/x", "write", S)
    base, _ = copy({}, here, there, "here")
    del here.tree["d/x"], here.tree["d"]
    there.edit("d/x", "write", 5 * S)
    _, plan = copy(base, here, there, "here")
    assert plan.pull == ["d", "d/x"] and not plan.remove_there
    assert here.tree["d/x"].mtime_ns == 5 * S


def test_a_whole_directory_that_the_master_deleted_goes_the_deepest_first() -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    for path in ("a", "d/x", "d/y"):
        here.edit(path, "write", S)
    base, _ = copy({}, here, there, "here")
    for path in ("d", "d/x", "d/y"):
        del here.tree[path]
    base, plan = copy(base, here, there, "here")
    assert plan.remove_there == ["d/y", "d/x", "d"] and there.tree.keys() == {"a"} == base.keys()


def test_a_conflict_keeps_the_older_and_one_sided_changes_make_none() -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    here.edit("a", "write", S)
    base, plan = copy({}, here, there, None)
    assert not plan.keep_here and not plan.keep_there
    there.edit("a", "write", 2 * S)
    base, plan = copy(base, here, there, None)
    assert plan.pull == ["a"] and not plan.keep_here
    here.edit("a", "write", 4 * S)
    there.edit("a", "write", 3 * S)
    base, plan = copy(base, here, there, None)
    assert plan.push == ["a"] and plan.keep_there == ["a"]
    assert there.tree["a"].mtime_ns == 4 * S
    assert there.tree["a.conflict-beta-19700101T000003Z"].mtime_ns == 3 * S


def test_a_directory_and_a_file_of_one_name_are_left_alone() -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    here.edit("d/x", "write", S)
    there.tree["d"] = Version("file", 1, S, 0o644, 0, 0, "", 1)
    there.edit("d2", "write", S)
    plan = decide({}, here.tree, there.tree, None)
    assert plan.clashes == ["d"] and plan.pull == ["d2"] and not plan.push


def test_what_a_third_node_s_primary_deleted_does_not_come_back_between_two_others() -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    for path in ("a", "b", "d/x", "d/y"):
        here.edit(path, "write", S)
    base, _ = copy({}, here, there, None)
    for path in ("a", "d", "d/x", "d/y"):
        del here.tree[path]  # as the pair of alpha and the primary does
    del there.tree["b"]
    base, plan = copy(base, here, there, "elsewhere")
    assert plan == Plan(left=plan.left) and base.keys() == {"a", "b", "d", "d/x", "d/y"}
    there.edit("d/x", "write", 9 * S)
    _, plan = copy(base, here, there, "elsewhere")
    assert plan.pull == ["d", "d/x"] and not plan.push and not plan.remove_here and not plan.remove_there


@given(st.sets(st.sampled_from(("-", "-/x", "/x", "/x/y", "/x-y", " ", "!z/x")), min_size=1))
def test_what_is_below_a_clash_is_left_alone_whatever_sorts_between(ends: set[str]) -> None:
    here, there = Host("alpha", 0), Host("beta", 10_000)
    folder = Version("dir", 0, 0, 0o755, 0, 0, "", 1)
    here.tree = {"a": folder} | {"a" + end: folder for end in ends}
    there.tree["a"] = Version("file", 1, S, 0o644, 0, 0, "", 1)
    there.tree |= {path: there.tree["a"] for path in here.tree if path[1:2] not in ("", "/")}
    plan = decide({}, here.tree, there.tree, None)
    assert "a" in plan.clashes and not [path for path in plan.push + plan.pull if path.startswith("a/")]


@pytest.mark.parametrize("mtime_s", [-(1 << 40), 1 << 40])
def test_a_time_of_no_year_gives_a_name(mtime_s: int) -> None:
    name = kept_name("a", "alpha", Version("file", 1, mtime_s * S, 0o644, 0, 0, "", 1))
    assert name.startswith("a.conflict-alpha-")


def test_whole_seconds_of_a_file_system_are_no_difference() -> None:
    one = Version("file", 1, 5 * S + 17, 0o644, 0, 0, "", 1)
    assert same(one, one._replace(mtime_ns=5 * S)) and not same(one, one._replace(mtime_ns=5 * S + 18))


def test_a_name_that_is_long_keeps_its_place() -> None:
    version = Version("file", 1, 0, 0o644, 0, 0, "", 1)
    name = kept_name("d/" + "ä" * 127, "alpha", version, 2)
    assert name.startswith("d/ä") and name.endswith(".conflict-alpha-19700101T000000Z-2")
    assert len(name.partition("/")[2].encode(errors="surrogateescape")) <= 255


# ------------------------------------------------------------------ when

TIMES = st.times().map(lambda one: one.replace(second=0, microsecond=0))
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1))


@given(TIMES, TIMES, MOMENTS)
def test_quiet_hours_cover_what_lies_between_their_ends(begin: time, end: time, now: datetime) -> None:
    if begin == end:
        return
    quiet = QuietHours.parse(f"{begin:%H:%M}-{end:%H:%M}")
    at, day = now - datetime.combine(now.date(), begin), timedelta(days=1)
    length = (datetime.combine(now.date(), end) - datetime.combine(now.date(), begin)) % day
    assert quiet.covers(now) == (at % day < length)
    assert not quiet.covers(quiet.next_end(now)) and quiet.covers(quiet.next_begin(now))
    assert timedelta() < quiet.next_end(now) - now <= day and timedelta() < quiet.next_begin(now) - now <= day


@pytest.mark.parametrize("text", ["22:00", "24:00-01:00", "5:00-06:00", "06:00-06:00", "22:60-01:00", ""])
def test_what_is_no_span_of_a_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"span|begins when it ends"):
        QuietHours.parse(text)


@given(
    st.integers(5, 86_400),
    MOMENTS,
    st.none() | st.integers(-100_000, 100_000),
    st.integers(0, 50),
    st.booleans(),
)
def test_the_next_copy_is_due_within_its_period_and_never_in_quiet_hours(
    every_s: int, now: datetime, ago_s: int | None, failures: int, with_quiet: bool
) -> None:
    quiet = QuietHours.parse("22:00-06:00") if with_quiet else None
    ended = None if ago_s is None else now - timedelta(seconds=ago_s)
    table = Timetable(every_s, quiet)
    wait_s = table.wait_s(now, ended, failures)
    due = now + timedelta(seconds=wait_s)
    assert wait_s >= 0 and table.lets(due)
    if quiet is None:
        assert wait_s <= every_s
    if ended is None and table.lets(now):
        assert wait_s == 0
    if ago_s is not None and 0 <= ago_s < every_s and not failures and quiet is None:
        assert wait_s == pytest.approx(every_s - ago_s)
    if failures and ago_s is not None and ago_s > min(300, every_s) and table.lets(now):
        assert wait_s == 0
