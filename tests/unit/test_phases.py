"""The table of phases: complete, drawn into the docs, and asked whenever a phase is entered."""

from __future__ import annotations

from fttcp.ownership import commands as do
from fttcp.ownership import events as ev
from fttcp.ownership import phases
from fttcp.ownership.model import NS_PER_MS, EngineMode, Lease, Phase, Settings
from fttcp.ownership.pair import PairMachine
from scripts.draw_phases import PAGE, page

SETTINGS = Settings("web", "alpha", ("beta",), 100, 100 * NS_PER_MS, 1000, 500 * NS_PER_MS)


class Eager(PairMachine):
    """One of its rules calls a node paired that has found nobody yet."""

    def _listening(self, now_ns: int) -> None:
        self._enter(Phase.PAIRED, now_ns)


def test_a_step_that_is_not_in_the_table_fences_and_says_which() -> None:
    machine = Eager(SETTINGS, 10**12)
    commands = machine.step(ev.Started(), 10**12)
    assert commands == [
        do.SetLease(Lease.NONE),
        do.SetMode(EngineMode.IDLE, 0),
        do.Fence("phase listening cannot become paired"),
    ]


def test_every_phase_is_in_the_table_and_is_reached() -> None:
    assert set(phases.TRANSITIONS) == set(Phase)
    reached = {Phase.LISTENING}
    while more := {after for before in reached for after in phases.TRANSITIONS[before]} - reached:
        reached |= more
    assert reached == set(Phase) - {Phase.FENCED}  # a broken invariant leads there, from anywhere
    assert all(before not in after for before, after in phases.TRANSITIONS.items())


def test_the_docs_show_the_table_as_it_is() -> None:
    assert PAGE.read_text() == page(), "run .venv/bin/python scripts/draw_phases.py"
    assert all(
        f"| {after} | {why} |" in page()
        for ways in phases.TRANSITIONS.values()
        for after, why in ways.items()
    )
