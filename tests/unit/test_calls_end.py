"""How following ends: the server goes on, and the first reason is told."""

from __future__ import annotations

import mmap
import signal
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from fttcp.server import calls
from lab.hosts import await_condition
from tests.calls.copies import Copies, compiled


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled("clock", tmp_path_factory.mktemp("programs"))


def times_of(said: str) -> list[list[float]]:
    """Of each line of `clock`, what its clocks showed."""
    return [[float(word) for word in line.split()] for line in said.splitlines()]


def never_run_back(said: str) -> bool:
    """But for what the process has used, which is its own."""
    lines = [line[:-1] for line in times_of(said)]
    return all(a <= b for one, other in pairwise(lines) for a, b in zip(one, other, strict=True))


def test_a_call_that_differs_is_named(clock: str, tmp_path: Path) -> None:
    """With thread, number and program; both go on to their ends."""
    other = compiled("chance", tmp_path)
    copies = Copies(tmp_path)
    assert copies.run([clock, "3"], [other]) == [0, 0]
    broken = copies.told["broken"]
    assert broken["why"] == "another call than the leader's"
    assert (broken["call"], broken["leader_call"]) == ("getrandom", "clock_gettime")
    assert (broken["program"], broken["thread"], broken["nth"]) == ("chance", 0, 1)
    assert calls.sentence(copies.told).startswith(
        "broken at getrandom (thread 0, call 1) by chance: another call"
    )
    assert len(copies.said[0].splitlines()) == 3 and len(copies.said[1].splitlines()) == 7


def test_an_early_end_is_none_and_another_argument_is_another_call(clock: str, tmp_path: Path) -> None:
    copies = Copies(tmp_path)
    assert copies.run([clock, "5"], [clock, "4"]) == [0, 0]
    assert copies.told["state"] == "runs" and copies.told["behind"] > 0
    (tmp_path / "other").mkdir()
    copies = Copies(tmp_path / "other")
    script = "import sys, time; time.clock_gettime(int(sys.argv[1]))"
    copies.run([sys.executable, "-S", "-c", script, "1"], [sys.executable, "-S", "-c", script, "7"])
    assert copies.told["broken"]["call"] == copies.told["broken"]["leader_call"] == "clock_gettime"


def test_a_follower_that_does_not_keep_up_is_left(clock: str, tmp_path: Path) -> None:
    """Or is not there: the leader waits for as long as it is told to, once."""
    copies = Copies(tmp_path, ring_size=1 << 12, patience_ms=200)
    assert copies.run([clock, "500"], ["true"])[0] == 0
    assert copies.told["broken"]["why"] == "the follower did not keep up"
    assert len(times_of(copies.said[0])) == 500


def test_a_small_ring_is_enough_for_a_follower_that_keeps_up(clock: str, tmp_path: Path) -> None:
    copies = Copies(tmp_path, ring_size=1 << 12)
    assert copies.run([clock, "500"]) == [0, 0]
    assert copies.alike, copies.told
    assert copies.told["bytes"] > 20 << 12


def test_a_follower_goes_on_by_itself_and_its_clocks_do_not_run_back(clock: str, tmp_path: Path) -> None:
    """The leader is killed; nobody tells the follower but by the log."""
    copies = Copies(tmp_path)
    with copies.running([clock, "2000"]) as (leader, follower):
        output = copies.outputs[1]
        await_condition(lambda: output.read_bytes().count(b"\n") > 100, 20, "a follower")
        leader.kill()
        leader.wait()
        calls.end(copies.log)
        assert follower.wait(30) == 0
    first, second = copies.said
    assert second.startswith(first[: first.rfind("\n") + 1])
    assert len(times_of(second)) == 2000 and never_run_back(second)


@pytest.mark.parametrize("at", ["positions", "records", "all"])
def test_a_server_lives_whose_memory_is_damaged(at: str, clock: str, tmp_path: Path) -> None:
    copies = Copies(tmp_path, ring_size=1 << 12)
    with copies.running([clock, "3000"]) as both:
        await_condition(lambda: copies.outputs[1].read_bytes().count(b"\n") > 50, 20, "a follower")
        both[1].send_signal(signal.SIGSTOP)
        await_condition(lambda: copies.told["behind"] > 3000, 20, "records that are not taken yet")
        with copies.log.open("r+b") as file, mmap.mmap(file.fileno(), 0) as log:
            if at == "positions":
                struct.pack_into("<Q", log, 4096 + 8, 1 << 60)
                struct.pack_into("<Q", log, 4096 + 64, 1 << 50)
            elif at == "records":
                log[8192 : 8192 + 4096] = b"\xee" * 4096
            else:
                log[4096:] = b"\xee" * (len(log) - 4096)
        both[1].send_signal(signal.SIGCONT)
        assert [one.wait(60) for one in both] == [0, 0]
    assert copies.told["broken"]["why"] == "the memory is damaged"
    assert all(len(times_of(one)) == 3000 and never_run_back(one) for one in copies.said)


@pytest.mark.parametrize(
    ("call", "script"),
    [
        ("io_uring", "import ctypes; ctypes.CDLL(None).syscall(425, 1, 0)"),
        ("sigwait", "import signal; signal.sigtimedwait([], 0)"),
        ("splice", "import os; os.splice(0, 0, 1)"),
        ("futex", "import ctypes; ctypes.CDLL(None).syscall(202, ctypes.byref(ctypes.c_int()), 1, 1)"),
        ("spin", "import ctypes; ctypes.CDLL(None).pthread_spin_trylock(ctypes.byref(ctypes.c_int()))"),
        (
            "cancel",
            "import threading as t, ctypes; l = t.Lock(); l.acquire()\n"
            "one = t.Thread(target=l.acquire, daemon=True); one.start()\n"
            "ctypes.CDLL(None).pthread_cancel(ctypes.c_ulong(one.ident))",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_at_the_call(call: str, script: str, tmp_path: Path) -> None:
    """And made: only the log ends."""
    copies = Copies(tmp_path)
    copies.run([sys.executable, "-S", "-c", script])
    assert (copies.told["broken"]["why"], copies.told["broken"]["call"]) == ("cannot be followed", call)


def test_without_a_log_a_server_runs_as_ever(clock: str, tmp_path: Path) -> None:
    """There is none, it is none, or it is too short."""
    wrong, short = tmp_path / "wrong", tmp_path / "short"
    wrong.write_bytes(b"x" * 100_000)
    calls.make(short)
    with short.open("r+b") as file:
        file.truncate(10_000)
    for log in (tmp_path / "none", wrong, short, tmp_path):
        environment = calls.environment(log, "leader", {})
        done = subprocess.run([clock, "2"], env=environment, capture_output=True, text=True, check=True)
        assert len(times_of(done.stdout)) == 2


def test_a_program_that_the_server_starts_is_none_of_it(tmp_path: Path) -> None:
    """Its own calls are made for itself; one that replaces the server goes on in its place."""
    drawn = compiled("chance", tmp_path)
    copies = Copies(tmp_path)
    assert copies.run(["sh", "-c", f"exec {drawn}"]) == [0, 0]
    assert copies.alike, copies.told
    other = tmp_path / "other"
    other.mkdir()
    apart = Copies(other)
    apart.run(
        [sys.executable, "-S", "-c", f"import subprocess; subprocess.run([{drawn!r}], close_fds=False)"]
    )
    assert len(apart.said[0].splitlines()) == len(apart.said[1].splitlines()) == 7
    assert apart.said[0] != apart.said[1]


def test_no_log_is_made_over_another(tmp_path: Path) -> None:
    calls.make(tmp_path / "log")
    with pytest.raises(calls.CallsError, match="File exists"):
        calls.make(tmp_path / "log")
    with pytest.raises(calls.CallsError, match="no log of calls"):
        (tmp_path / "other").write_bytes(bytes(10_000))
        calls.shown(tmp_path / "other")


def test_positions_that_only_the_memory_has(clock: str, tmp_path: Path) -> None:
    """The leader is gone, and its last position is not what it wrote."""
    copies = Copies(tmp_path)
    with copies.running([clock, "1000"]) as (leader, follower):
        await_condition(lambda: copies.outputs[1].read_bytes().count(b"\n") > 50, 20, "a follower")
        follower.send_signal(signal.SIGSTOP)
        assert leader.wait(30) == 0
        with copies.log.open("r+b") as file, mmap.mmap(file.fileno(), 0) as log:
            struct.pack_into("<Q", log, 4096 + 8, 1 << 60)
        follower.send_signal(signal.SIGCONT)
        assert follower.wait(30) == 0
    assert copies.told["broken"]["why"] == "the memory is damaged"


def test_a_result_that_the_server_has_no_room_for(tmp_path: Path) -> None:
    """It would run over its own memory."""
    copies, (record, magic) = Copies(tmp_path), (struct.Struct("<HHIqQ"), 1 << 30)
    script = (
        "import os\nfor _ in range(3000): n = len(os.getrandom(16)); n == 16 or os.abort()\nos.write(1, b'.')"
    )
    with copies.running([sys.executable, "-S", "-c", script]) as (leader, follower):
        follower.send_signal(signal.SIGSTOP)
        assert leader.wait(30) == 0
        with copies.log.open("r+b") as file, mmap.mmap(file.fileno(), 0) as log:
            at, end = struct.unpack_from("<Q", log, 4096 + 64)[0], struct.unpack_from("<Q", log, 4096 + 8)[0]
            while at < end:
                call, error, size, result, about = record.unpack_from(log, 8192 + at)
                if (size, result, about) == (16, 16, 16):
                    record.pack_into(log, 8192 + at, call, error, size, magic, about)
                at += record.size + (size + 7) // 8 * 8
        follower.send_signal(signal.SIGCONT)
        assert follower.wait(30) == 0
    assert copies.told["broken"]["why"] == "the memory is damaged"
