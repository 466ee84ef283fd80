"""Signals and children of two copies."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from fttcp.server import calls
from lab.hosts import await_condition
from tests.calls.copies import Copies, compiled


def python(script: str) -> list[str]:
    return [sys.executable, "-S", "-c", script]


def test_a_signal_between_two_calls_ends_the_second(tmp_path: Path) -> None:
    """It may have begun when the signal came."""
    copies = Copies(tmp_path)
    assert copies.run([compiled("between", tmp_path)]) == [0, 0]
    assert copies.alike, copies.told


@pytest.mark.parametrize(
    "wait", ["os.waitpid(child, 0)[1]", "os.waitid(os.P_PID, child, os.WEXITED).si_status"]
)
def test_a_child_that_somebody_kills(wait: str, tmp_path: Path) -> None:
    """On the leader's host; the other one says what it was told, and ends."""
    copies = Copies(tmp_path)
    script = f"""import os, signal
child = os.fork()
if not child:
    os.write(1, os.getrandom(4).hex().encode() + b"; ")
    signal.pause()
os.write(1, str((child, {wait})).encode())"""
    with copies.running(python(script)) as both:
        await_condition(lambda: "; " in copies.said[0], 20, "a child")
        os.kill(children_of(both[0].pid)[0], signal.SIGKILL)
        assert [one.wait(20) for one in both] == [0, 0]
    assert copies.alike, copies.told


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_child_keeps_its_number(tmp_path: Path) -> None:
    """And the server its own, when the log has ended."""
    copies = Copies(tmp_path)
    script = """import os
r, w = os.pipe()
child = os.fork()
if not child:
    os.close(w)
    os.read(r, 1)
    os._exit(3)
own = os.getpid()
os.write(1, b"begun; ")
os.read(0, 1)
os.write(w, b"x")
os.write(1, str([child == os.wait()[0], own == os.getpid()]).encode())"""
    gates = [tmp_path / "a", tmp_path / "b"]
    for gate in gates:
        os.mkfifo(gate)
    words = [["sh", "-c", 'exec "$@" <>"$0"', str(gate), *python(script)] for gate in gates]
    with copies.running(*words) as (leader, follower):
        await_condition(lambda: all("begun; " in one for one in copies.said), 20, f"children: {copies.told}")
        leader.kill()
        calls.end(copies.log)
        gates[1].write_bytes(b"x")
        assert follower.wait(20) == 0
    assert copies.said[1] == "begun; [True, True]"


def test_numbers_and_programs(tmp_path: Path) -> None:
    """Numbers of threads, what is known of the host, and a program that is started."""
    copies = Copies(tmp_path)
    script = """import ctypes, os
libc = ctypes.CDLL(None)
room = ctypes.create_string_buffer(200)
libc.sysinfo(room)
child = os.posix_spawn("/bin/true", ["true"], os.environ)
os.write(1, str((libc.gettid(), room.raw.hex(), child, os.waitpid(child, 0))).encode())"""
    assert copies.run(python(script)) == [0, 0]
    assert copies.alike, copies.told
