"""Whole stories go as they are told, and each of them ends well."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fttcp.ownership.pair import PairMachine
from tests import packet_story, packet_table
from tests.story import played
from tests.transcripts import compare

_ALL = sorted((Path(__file__).parents[1] / "stories").glob("*.txt"))
PACKETS = [path for path in _ALL if "\npair\n" in path.read_text()]
STORIES = [path for path in _ALL if path not in PACKETS]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_it_goes_as_the_story_tells(path: Path) -> None:
    compare(path, played)


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_in_the_end_the_two_are_in_step(path: Path) -> None:
    said = [line.split() for line in path.read_text().splitlines() if "<< Publish" in line]
    last = {}
    for words in said:
        node = words[words.index("<<") - 1]
        last[node] = next((word for word in words if word.startswith("mode=")), last.get(node))
    assert last == {"alpha": "mode=paired", "beta": "mode=paired"}


def test_a_rule_that_is_left_out_makes_another_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairMachine, "_depend", lambda machine, now_ns: None)
    text = next(path for path in STORIES if path.stem == "pairing").read_text()
    assert played(text) != text


@pytest.mark.parametrize(
    "line", ["-- boot alpha", "nodes beta arbiter=none", "nodes alpha arbiter=coin", "so"]
)
def test_a_line_that_says_nothing_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 1: "):
        played(line)


@pytest.mark.parametrize("path", PACKETS, ids=lambda path: path.stem)
def test_packets_go_as_the_story_tells(path: Path) -> None:
    compare(path, packet_story.played)


@pytest.mark.parametrize("path", PACKETS, ids=lambda path: path.stem)
def test_in_the_end_nothing_is_held(path: Path) -> None:
    held, gone = (
        re.findall(word, path.read_text()) for word in (r"(#\d+) primary  holds", r"lets (#\d+) go")
    )
    assert held and sorted(held) == sorted(gone)


@pytest.mark.parametrize("path", PACKETS, ids=lambda path: path.stem)
def test_if_the_nodes_do_not_hear_each_other_the_client_hears_nothing(path: Path) -> None:
    deaf = [line for line in path.read_text().splitlines() if not line.endswith(" hears")]
    said = packet_story.played("\n".join(deaf))
    assert "primary  holds it" in said and "go to the client" not in said


@pytest.mark.parametrize(
    "lines",
    [
        "-- client S 0:0(0) win 1",
        "pair\n-- client S 0:0(1) win 1",
        "pair\n-- client X 0:0(0) win 1",
        "pair\n-- nobody S 0:0(0) win 1",
        "pair\n-- primary hears",
        "so",
    ],
)
def test_an_act_that_cannot_be_is_refused_with_its_number(lines: str) -> None:
    with pytest.raises(ValueError, match=f"line {len(lines.splitlines())}: "):
        packet_story.played(lines)


TABLE = Path(__file__).parents[1] / "stories" / "flow.table"


def test_packets_are_decided_as_the_table_tells() -> None:
    compare(TABLE, packet_table.played)


def test_a_row_of_the_table_is_decided_anew_from_its_state() -> None:
    begins = "-- client S 0:0(0) win 64240\n"
    lines = [
        f"state {state}\n{acts}| packet |\n| primary S. 0:0(0) ack 1 win 9 |\n"
        for state, acts in (("none", ""), ("called", begins), ("none again", ""))
    ]
    none, called, again = (
        line for line in packet_table.played("".join(lines)).splitlines() if "S. 0" in line
    )
    assert none == again and "lets it go" in none and "holds it" in called


@pytest.mark.parametrize(
    "lines", ["so", "state x\n| packet |\n| client S 0:0(1) win 1 |", "| backup hears |"]
)
def test_a_row_that_cannot_be_is_refused_with_its_number(lines: str) -> None:
    with pytest.raises(ValueError, match=f"line {len(lines.splitlines())}: "):
        packet_table.played(lines)
