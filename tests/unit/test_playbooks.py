"""The machine answers as its playbooks tell; and the playbooks would notice if it did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.ownership.model import Phase
from fttcp.ownership.pair import PairMachine
from fttcp.ownership.phases import TRANSITIONS
from fttcp.ownership.state import State
from tests.playbook import FOLDER, played
from tests.transcripts import compare

PLAYBOOKS = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.stem)
def test_it_goes_as_the_playbook_tells(path: Path) -> None:
    compare(path, played)


def test_every_step_of_the_table_of_phases_is_in_a_playbook(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = set()
    enter = State._enter

    def note(machine: State, phase: Phase, now_ns: int) -> None:
        taken.add((machine.phase, phase))
        enter(machine, phase, now_ns)

    monkeypatch.setattr(State, "_enter", note)
    for path in PLAYBOOKS:
        played(path.read_text())
    assert taken == {(before, after) for before in TRANSITIONS for after in TRANSITIONS[before]}


def test_another_answer_is_shown_where_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairMachine, "_depend", lambda machine, now_ns: None)
    monkeypatch.delenv("FTTCP_TRANSCRIPTS", raising=False)
    with pytest.raises(pytest.fail.Exception) as failure:
        compare(FOLDER / "pairing-primary.txt", played)
    assert "\n >> PeerStated beta mode=pairing session=1.1\n-<< SetLease policy=GRANTED\n" in str(
        failure.value
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (">> Startet", "no event 'Startet'"),
        (">> CarrierChanged up=maybe", "maybe"),
        (">> ArbiterAnswered outcome=won record=alone", "no record"),
        (".. 5 minutes", "no time"),
        (".. until Fence", "no Fence within"),
        ("Started", "a line begins with"),
        ("after nothing", "nothing.txt"),
    ],
)
def test_a_line_that_says_nothing_is_refused_with_its_number(line: str, why: str) -> None:
    with pytest.raises((ValueError, OSError), match=why):
        played(f"with peers=beta arbiter=none\n{line}\n")


def test_an_answer_that_is_only_written_is_not_believed() -> None:
    told = played("with peers=beta arbiter=none\n>> Started\n")
    assert played(told.replace("== listening", "<< Announce\n== paired")) == told
