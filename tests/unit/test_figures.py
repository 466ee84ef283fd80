"""Plots of an experiment: what they show of several clients, and that their axes can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib import pyplot

from lab.study import figures
from lab.study.folder import Folder, write_lines
from lab.study.plan import understand
from lab.study.schema import Figure, Study

SECOND = 1_000_000


@pytest.fixture
def axes() -> Iterator[Any]:
    canvas, drawn = pyplot.subplots()
    yield drawn
    pyplot.close(canvas)


def made(path: Path, *clients: dict[str, Any], **more: Any) -> tuple[Study, Folder]:
    study = understand({"name": "a", "client": list(clients), **more}, "here")
    return study, Folder(path)


def said(folder: Folder, run: int, client: int, gap_ms: float, **more: Any) -> None:
    """What a client tells of a run: ten seconds, and its longest gap."""
    buckets = [
        {
            "type": "bucket",
            "time_us": at * SECOND,
            "us": SECOND,
            "answers": 7 + client,
            "received": 0,
            "sent": 0,
        }
        for at in range(1, 11)
    ]
    end = {"type": "end", "time_us": 10 * SECOND, "longest_gap_us": gap_ms * 1000, **more}
    write_lines(folder.run(run) / f"client-{client}.jsonl", [*buckets, end])


def row(run: int, **more: Any) -> dict[str, Any]:
    return {"run": run, "ok": True, "parameters": {}, "longest_gap_ms": 1.0, **more}


NEAR, FAR = {"measure": "echo"}, {"measure": "echo", "host": "far"}
WAY = [{"name": "wan", "by": "router", "hosts": ["far"]}]


def test_each_client_of_several_is_shown(tmp_path: Path, axes: Any) -> None:
    """Where nothing is swept. One that streams has another unit than one that asks."""
    study, folder = made(tmp_path, NEAR, FAR, {"measure": "down"}, segment=WAY)
    for run in (0, 1):
        said(folder, run, 0, 30.0 + run)
        said(folder, run, 1, 300.0 + run)
        said(folder, run, 2, 3000.0)
        write_lines(folder.run(run) / "events.jsonl", [])
    rows = [row(0), row(1)]
    figures._gaps(axes, Figure("gaps"), study, folder, rows)
    assert axes.get_legend_handles_labels()[1] == ["client: 2 runs", "far: 2 runs"]
    assert [list(line.get_xdata()) for line in axes.lines[1::2]] == [[30.0, 31.0], [300.0, 301.0]]
    axes.clear()
    figures._timeline(axes, Figure("timeline"), study, folder, rows)
    assert [float(line.get_ydata()[0]) for line in axes.lines] == [7, 8]
    assert [label.partition(",")[0] for label in axes.get_legend_handles_labels()[1]] == ["client", "far"]


def test_the_first_of_several_clients_is_shown_where_something_is_swept(tmp_path: Path) -> None:
    study, _ = made(tmp_path, NEAR, NEAR, sweep={"client.size": [1, 2]})
    assert figures._several(study) == []
    study, _ = made(tmp_path, NEAR, NEAR)
    assert [name for _, name in figures._several(study)] == ["client 0: echo", "client 1: echo"]


def test_what_is_counted_has_whole_numbers(tmp_path: Path, axes: Any) -> None:
    study, folder = made(
        tmp_path, NEAR, sweep={"fault.kind": ["heal", "crash-host"]}, fault=[{"kind": "heal"}]
    )
    rows = [
        row(number, lost=number, longest_gap_ms=0.25 * number) | {"parameters": {"fault.kind": kind}}
        for number, kind in enumerate(("heal", "crash-host"))
    ]
    figures._parameter(axes, Figure("parameter", "lost"), study, folder, rows)
    assert all(float(tick).is_integer() for tick in axes.get_yticks())
    axes.clear()
    figures._parameter(axes, Figure("parameter", "longest_gap_ms"), study, folder, rows)
    assert not all(float(tick).is_integer() for tick in axes.get_yticks())


def test_values_far_apart_have_ticks_of_their_own(tmp_path: Path, axes: Any) -> None:
    study, folder = made(tmp_path, NEAR, sweep={"client.rate": [10_000, 10_000_000]})
    rows = [row(n) | {"parameters": {"client.rate": rate}} for n, rate in enumerate((10_000, 10_000_000))]
    figures._parameter(axes, Figure("parameter"), study, folder, rows)
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10,000", "10,000,000"]


@pytest.mark.parametrize("takeover", [{}, {"takeover_ms": 90.0}])
def test_a_takeover_is_marked_only_if_clients_have_seen_it(
    takeover: dict[str, float], tmp_path: Path, axes: Any
) -> None:
    """The pair is there, too, where another system leads clients: such a run has no time of a takeover."""
    study, folder = made(tmp_path, NEAR, fault=[{"kind": "crash-host"}])
    said(folder, 0, 0, 30.0)
    events = [
        {"time_us": 2 * SECOND, "event": "fault", "fault": "crash-host"},
        {"time_us": 3 * SECOND, "event": "role", "role": "primary", "was": "following"},
        {"time_us": 4 * SECOND, "event": "fault", "fault": "restart-host"},
    ]
    write_lines(folder.run(0) / "events.jsonl", events)
    figures._timeline(axes, Figure("timeline"), study, folder, [row(0, fault_us=2 * SECOND, **takeover)])
    marks = axes.get_legend_handles_labels()[1][1:]
    assert marks == (["fault", "takeover", "repair"] if takeover else ["fault", "repair"])


def test_no_lag_is_shown_behind_the_end_of_the_first_client(tmp_path: Path, axes: Any) -> None:
    study, folder = made(tmp_path, NEAR)
    said(folder, 0, 0, 30.0)
    write_lines(folder.run(0) / "events.jsonl", [])
    samples = [
        {"time_us": at * SECOND, "node": "alpha", "role": "primary", "lag_us_p99": 100} for at in (9, 10, 11)
    ]
    write_lines(folder.run(0) / "nodes.jsonl", samples)
    figures._lag(axes, Figure("lag"), study, folder, [row(0)])
    assert max(axes.lines[0].get_xdata()) == 1.0
