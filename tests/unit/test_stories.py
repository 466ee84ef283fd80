"""Whole stories go as they are told, and each of them ends well."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.ownership.pair import PairMachine
from tests.story import played
from tests.transcripts import compare

STORIES = sorted((Path(__file__).parents[1] / "stories").glob("*.txt"))


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
