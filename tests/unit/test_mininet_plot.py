"""The plot of a first run in mininet: what is told where there is nothing to draw."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.mininet import plot


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), ("", "it has no points"), ("a,b\n1,2\n", "it has no points")],
)
def test_what_cannot_be_drawn_is_told(
    content: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tmp_path / "points.csv"
    if content is not None:
        points.write_text(content)
    monkeypatch.setattr(sys, "argv", ["plot", str(points), str(tmp_path / "gap.svg")])
    with pytest.raises(SystemExit, match=f"error: {points}: {told}"):
        plot.main()
    assert not (tmp_path / "gap.svg").exists()
