"""What random() gives to a server's timers is the same in both copies, if its environment asks for that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from fttcp.group import lockstep

_ALIKE = 64
_DRAWER = """
import ctypes, json, select, sys

library = ctypes.CDLL(None)
library.random.restype = ctypes.c_long
wait = {"poll": lambda: select.poll().poll(1), "select": lambda: select.select([], [], [], 0.001),
        "epoll": lambda: select.epoll().poll(0.001)}[sys.argv[1]]

def turn(draws):
    wait()
    return [library.random() for _ in range(draws)]

for _ in range(int(sys.stdin.read())):  # timers of this copy have met in other turns before
    turn(3)
print(json.dumps([turn(1), turn(1), turn(1000), [library.rand() for _ in range(1)]]))
"""


def drawn(file: Path, waits: str, before: int, wanted: str = "1") -> list[list[int]]:
    """What a copy draws in its turns, after so many others."""
    environment = {**os.environ, **lockstep.environment(file), "FTTCP_LOCKSTEP_RANDOM": wanted}
    words = [sys.executable, "-c", _DRAWER, waits]
    done = subprocess.run(
        words, env=environment, input=str(before), stdout=subprocess.PIPE, text=True, check=True
    )
    return list(json.loads(done.stdout))


def test_draws_follow_from_the_turn_if_they_are_asked_for(tmp_path: Path) -> None:
    """Whatever was drawn before. Timers of one turn draw the same; who draws more often gets others, too."""
    files = [tmp_path / f"{copy}.lockstep" for copy in range(2)]
    lockstep.make_for_comparison(files[0])
    files[1].write_bytes(files[0].read_bytes())
    by_wait = {}
    for waits in ("poll", "select", "epoll"):
        one, two = (drawn(file, waits, 5 * copy) for copy, file in enumerate(files))
        assert one == two
        by_wait[waits] = first, second, many, more = one
        assert first == second == many[:1]
        assert all(len(set(many[at : at + _ALIKE])) == 1 for at in range(0, len(many), _ALIKE))
        assert len({*many, *more}) == -(-len(many + more) // _ALIKE)
        assert all(0 <= number < 1 << 31 for number in many) and max(many) > 1 << 30
    assert by_wait["poll"][0] != by_wait["select"][0], "another command draws otherwise"


def test_without_that_the_c_library_draws(tmp_path: Path) -> None:
    """A program that has set a seed gets what belongs to that."""
    file = tmp_path / "a.lockstep"
    lockstep.make_for_comparison(file)
    plain = [drawn(file, "poll", before, "0") for before in (0, 0, 5)]
    assert plain[0] == plain[1] != plain[2] and plain[0][0] != plain[0][1]
