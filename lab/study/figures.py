"""The plots of an experiment, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lab.bench.plot import require_matplotlib
from lab.study.folder import Folder, Row, flat, lines
from lab.study.plan import Figure, Study
from lab.study.sequence import Point, points

WIDTH, HEIGHT = 9.0, 3.6
FAULT, TAKEOVER = "#b3261e", "#2e7d32"
AROUND_S = (-0.2, 0.8)
"""Of a fault: what a plot of sequence numbers shows."""


def draw(study: Study, folder: Folder) -> list[tuple[str, Path]]:
    """Draw what the experiment asks for (if it asks for nothing, what fits); return titles and files. Raises
    lab.bench.plot.PlotError without matplotlib."""
    require_matplotlib()
    rows = [row for row in folder.rows() if "error" not in row]
    drawn = []
    for number, figure in enumerate(study.figure or _usual(study)):
        title = figure.title or _TITLES[figure.kind].format(value=figure.value)
        file = folder.path / f"{number + 1}-{figure.kind}.svg"
        if rows:
            _draw(figure, title, study, folder, rows, file)
            drawn.append((title, file))
    return drawn


def _usual(study: Study) -> list[Figure]:
    if study.sweep:
        value = (
            "longest_gap_ms"
            if study.fault
            else "wait_p50_us"
            if study.client[0].measure == "echo"
            else "mbit_s"
        )
        return [Figure("parameter", value), Figure("gaps")]
    return [Figure("timeline"), Figure("lag")]


_TITLES = {
    "timeline": "Throughput of the clients, with the fault and the takeover",
    "gaps": "The longest silence of a run: which part of the runs had at most so much",
    "parameter": "{value} over what was swept: each run, and the medians",
    "waits": "Waits for an answer",
    "lag": "Lag of the commits: how long output waits for the backup",
    "sequence": "Sequence numbers of the first connection, as a capture of the client's link has them",
}


def _draw(figure: Figure, title: str, study: Study, folder: Folder, rows: Sequence[Row], file: Path) -> None:
    from matplotlib import pyplot

    canvas, axes = pyplot.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
    try:
        _KINDS[figure.kind](axes, figure, study, folder, rows)
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(alpha=0.25)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, frameon=False)
        canvas.savefig(file, metadata={"Date": None})
    finally:
        pyplot.close(canvas)


def _name_of(row: Row, study: Study) -> str:
    return ", ".join(f"{name} = {row['parameters'][name]}" for name in study.sweep) or "all runs"


def _series(rows: Sequence[Row], study: Study) -> Iterator[tuple[str, list[Row]]]:
    """The runs of each combination of what was swept, in the order of its values."""
    names = list(study.sweep)
    order = {tuple(row["parameters"][name] for name in names): _name_of(row, study) for row in rows}
    for values in sorted(
        order, key=lambda values: [study.sweep[n].index(v) for n, v in zip(names, values, strict=True)]
    ):
        mine = [row for row in rows if tuple(row["parameters"][name] for name in names) == values]
        yield order[values], mine


def _shown(rows: Sequence[Row], study: Study) -> Iterator[tuple[str, Row]]:
    """One run of each combination: the one in the middle of all by its longest gap."""
    for name, mine in _series(rows, study):
        ordered = sorted(mine, key=lambda row: row.get("longest_gap_ms", 0))
        yield name, ordered[len(ordered) // 2]


def _timeline(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    for name, row in _shown(rows, study):
        buckets = [line for line in _client(folder, row) if line["type"] == "bucket" and line["us"] > 1000]
        if not buckets:
            continue
        start = row.get("fault_us", buckets[0]["time_us"])
        at = [(line["time_us"] - start) / 1e6 for line in buckets]
        axes.plot(
            at, [8 * (line["received"] + line["sent"]) / line["us"] for line in buckets], lw=1.1, label=name
        )
        _mark(axes, folder, row, start)
    axes.set_xlabel(
        "seconds" + (" after the first fault; faults red, takeovers dashed" if study.fault else "")
    )
    axes.set_ylabel("Mbit/s, both ways")
    axes.set_ylim(bottom=0)


def _gaps(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    for name, mine in _series(rows, study):
        gaps = sorted(row["longest_gap_ms"] for row in mine if "longest_gap_ms" in row)
        if gaps:
            axes.step(
                gaps,
                [(i + 1) / len(gaps) for i in range(len(gaps))],
                where="post",
                label=f"{name} ({len(gaps)})",
            )
    axes.set_xlabel("longest silence of a client, ms")
    axes.set_ylabel("part of the runs")
    axes.set_ylim(0, 1.02)


def _parameter(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    names, medians = [], []
    for place, (name, mine) in enumerate(_series(rows, study)):
        values = [value for row in mine if (value := flat(row).get(figure.value)) is not None]
        names.append(name)
        axes.plot([place] * len(values), values, "o", color="#546e7a", ms=3.5, alpha=0.6)
        medians.append(sorted(values)[len(values) // 2] if values else float("nan"))
    axes.plot(range(len(names)), medians, color="#0d47a1", lw=1.2, marker="_", ms=14, label="median")
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_ylabel(figure.value.replace("_", " "))
    axes.set_ylim(bottom=0)


def _waits(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    quantiles = ("p10", "p50", "p90", "p99", "p999")
    for name, mine in _series(rows, study):
        found = [[row.get(f"wait_{q}_us") for q in quantiles] for row in mine]
        columns = [sorted(v for v in column if v is not None) for column in zip(*found, strict=True)]
        if all(columns):
            axes.plot(
                quantiles, [column[len(column) // 2] for column in columns], marker="o", ms=3, label=name
            )
    axes.set_yscale("log")
    axes.set_ylabel("wait for an answer, microseconds")


def _lag(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    for name, row in _shown(rows, study):
        samples = [
            s
            for s in lines(folder.run(row["run"]) / "nodes.jsonl")
            if s["role"] == "primary" and s["lag_us_p99"]
        ]
        if not samples:
            continue
        start = row.get("fault_us", samples[0]["time_us"])
        axes.plot(
            [(s["time_us"] - start) / 1e6 for s in samples],
            [s["lag_us_p99"] for s in samples],
            lw=1,
            label=f"{name}, p99",
        )
    axes.set_xlabel("seconds" + (" after the first fault" if study.fault else ""))
    axes.set_ylabel("microseconds")
    axes.set_ylim(bottom=0)


def _sequence(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    """Around the fault, where the run has one."""
    _, row = next(_shown(rows, study))
    found = points(folder.run(row["run"]) / "client.pcap")
    start = row.get("fault_us", found.data[0].time_us if found.data else 0)
    early, late = AROUND_S if "fault_us" in row else (-math.inf, math.inf)

    def shown(seen: Sequence[Point]) -> tuple[list[float], list[float]]:
        near = [((point.time_us - start) / 1e6, point.number / 1e6) for point in seen]
        chosen = [place for place in near if early <= place[0] <= late]
        return [x for x, _ in chosen], [y for _, y in chosen]

    axes.plot(
        *shown(found.acknowledged), color="#9e9e9e", lw=0.9, drawstyle="steps-post", label="acknowledged"
    )
    axes.plot(*shown(found.data), "|", color="#0d47a1", ms=5, label="sent")
    axes.plot(*shown(found.repeated), "|", color=FAULT, ms=5, label="sent again")
    _mark(axes, folder, row, start, (early, late))
    axes.set_xlabel(
        "seconds" + (" after the first fault; faults red, takeovers dashed" if study.fault else "")
    )
    axes.set_ylabel("megabytes of the server's stream")


def _mark(
    axes: Any, folder: Folder, row: Row, start_us: float, within: tuple[float, float] = (-math.inf, math.inf)
) -> None:
    """Draw the faults of a run, and when a node began to serve."""
    for event in lines(folder.run(row["run"]) / "events.jsonl"):
        at = (event["time_us"] - start_us) / 1e6
        serves = event["event"] == "role" and (event["role"], event["was"]) == ("primary", "following")
        if within[0] <= at <= within[1] and (event["event"] == "fault" or serves):
            axes.axvline(at, color=TAKEOVER if serves else FAULT, lw=0.9, ls="--" if serves else "-")


def _client(folder: Folder, row: Row) -> list[dict[str, Any]]:
    return lines(folder.run(row["run"]) / "client-0.jsonl")


_KINDS: dict[str, Callable[[Any, Figure, Study, Folder, Sequence[Row]], None]] = {
    "timeline": _timeline,
    "gaps": _gaps,
    "parameter": _parameter,
    "waits": _waits,
    "lag": _lag,
    "sequence": _sequence,
}
