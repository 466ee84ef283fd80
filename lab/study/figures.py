"""The plots of an experiment, by matplotlib."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from statistics import median
from typing import Any

from lab.bench.plot import require_matplotlib
from lab.study.checks import COLUMNS, REPAIRS, asks
from lab.study.folder import PACKETS, Folder, Row, lines
from lab.study.page import combined, counted, lost, values
from lab.study.schema import Figure, Study
from lab.study.sequence import Point, points

WIDTH, HEIGHT = 9.0, 3.6
TROUBLE, FAULT, REPAIR, TAKEOVER = "#b3261e", "#1b1f23", "#8a94a0", "#2e7d32"
AROUND_S = (-0.2, 0.8)
"""Of a fault: what a plot of sequence numbers shows, of a server that says something then."""
FEW_SEGMENTS = 10
STREAM_UNITS = {"bytes": 1e4, "kilobytes": 1e7, "megabytes": math.inf}
"""Of a stream that is not longer than so many bytes."""
LONGEST_TICK, TICKS_IN_A_ROW = 24, 100
"""Characters: of a tick, and of all that fit side by side."""
CLOSEST_TICKS = 0.05
"""Of the width."""
CLOSEST_RATIO = 1.5
"""Of two ticks on a logarithmic axis."""
LAPSE_S = 0.3
"""Without a sample for so long, a line is broken."""
LOG_FROM = 30
"""Values of which the largest is so many times the smallest are on a logarithmic axis."""
COUNTS = ("lost", "received", "sent")
"""Values that are whole numbers."""
MARKS = ("fault", "repair", "takeover")
"""In a legend they are the last ones."""
LOST = {"lw": 0, "marker": "x", "ms": 6, "color": TROUBLE}
"""Of runs with lost connections: no median has them."""
_TITLES = {
    "timeline": "What {who} gets",
    "gaps": "The longest silence in a run: the share of runs in which it was at most so long",
    "parameter": "{value}: each run, and the medians",
    "waits": "Waits for an answer: medians of the runs",
    "lag": "How long output waits for the backup",
    "sequence": "Sequence numbers of the first connection, as a capture of the client's link has them",
}


def draw(study: Study, folder: Folder) -> list[tuple[str, Path]]:
    """Draw what the experiment asks for (if it asks for nothing, what fits); return titles and files. Plots
    that were there are removed. Raises
    lab.bench.plot.PlotError without matplotlib."""
    require_matplotlib()
    for old in folder.path.glob("*.svg"):
        if re.fullmatch(rf"\d+-({'|'.join(_KINDS)})", old.stem):
            old.unlink()
    rows = [row for row in folder.rows() if "error" not in row]
    drawn = []
    for number, figure in enumerate(study.figure or _usual(study)):
        who = "each client" if _several(study) else "the first client"
        title = figure.title or _TITLES[figure.kind].format(value=COLUMNS.get(figure.value), who=who)
        title = title[0].upper() + title[1:]
        file = folder.path / f"{number + 1}-{figure.kind}.svg"
        if rows:
            _draw(figure, title, study, folder, rows, file)
            drawn.append((title, file))
    return drawn


def _usual(study: Study) -> list[Figure]:
    first = study.client[0]
    if not study.sweep:
        return [*([Figure("timeline")] if first.measure else []), Figure("lag")]
    if not any(client.measure for client in study.client):
        return [Figure("parameter", "takeover_ms"), Figure("lag")]
    value = "longest_gap_ms" if study.fault else "wait_p50_us" if asks(first) else "mbit_s"
    return [Figure("parameter", value), Figure("gaps")]


def _draw(figure: Figure, title: str, study: Study, folder: Folder, rows: Sequence[Row], file: Path) -> None:
    from matplotlib import pyplot

    canvas, axes = pyplot.subplots(figsize=(WIDTH, HEIGHT), layout="constrained")
    try:
        _KINDS[figure.kind](axes, figure, study, folder, rows)
        axes.set_title(title, fontsize=10, loc="left")
        axes.grid(alpha=0.25)
        labels = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda one: one[1] in MARKS)
        if labels:
            canvas.legend(
                *zip(*labels, strict=True), fontsize=8, frameon=False, loc="outside right upper",
                title=_legend(figure, study), title_fontsize=8,
            )  # fmt: skip
        drawn: Sequence[Any] = axes.lines
        if not any(len(line.get_xdata()) for line in drawn):
            axes.text(0.5, 0.5, "no run has this", transform=axes.transAxes, ha="center", color=TROUBLE)
        canvas.savefig(file, metadata={"Date": None})
    finally:
        pyplot.close(canvas)


def _short(value: Any) -> str:
    text = f"{value:,}" if type(value) in (int, float) else str(value)
    return text if len(text) <= LONGEST_TICK else text[: LONGEST_TICK - 1] + "…"


def _legend(figure: Figure, study: Study) -> str | None:
    """What the lines of a plot differ by."""
    across = _across(study)
    alike = figure.kind == "sequence" or (figure.kind == "parameter" and across is None)
    names = [] if alike else [key for key in study.sweep if figure.kind != "parameter" or key != across]
    return ", ".join(names) or None


def _across(study: Study) -> str | None:
    """The last key that was swept over several numbers: what else was swept makes lines over it."""
    for key, swept in reversed(study.sweep.items()):
        if len(swept) > 1 and all(type(value) in (int, float) for value in swept):
            return key
    return None


def _series(rows: Sequence[Row], study: Study) -> Iterator[tuple[str, list[Row]]]:
    """The runs of each combination of what was swept, in the order of its values."""
    for parameters, mine in combined(study, rows):
        yield ", ".join(_short(value) for value in parameters.values()) or "all runs", mine


def _shown(rows: Sequence[Row], study: Study) -> Iterator[tuple[str, Row]]:
    """One run of each combination: of those that went well the one in the middle by its longest gap."""
    for name, mine in _series(rows, study):
        ordered = sorted(
            [row for row in mine if row["ok"]] or mine, key=lambda row: row.get("longest_gap_ms", 0)
        )
        row = ordered[len(ordered) // 2]
        which = f"run {row['run']}" + (f", the middle of {len(ordered)}" if len(ordered) > 1 else "")
        yield f"{name}: {which}" if study.sweep else which, row


def _several(study: Study) -> list[tuple[int, str]]:
    """The clients that are shown beside each other: those that are measured as the first one is, if there are
    several and nothing is swept; with their names."""
    first = study.client[0]
    alike = [
        (number, client)
        for number, client in enumerate(study.client)
        if client.measure and client.measure != "recipe" and asks(client) == asks(first)
    ]
    if study.sweep or not first.measure or len(alike) < 2:
        return []
    hosts = [client.host for _, client in alike]
    return [
        (number, client.host if hosts.count(client.host) == 1 else f"client {number}: {client.measure}")
        for number, client in alike
    ]


def _timeline(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    counts = asks(study.client[0])

    def height(line: Row) -> float:
        return float(
            (line["answers"] * 1e6 if counts else 8 * (line["received"] + line["sent"])) / line["us"]
        )

    shown = [(0, name, row) for name, row in _shown(rows, study)]
    if several := _several(study):
        shown = [(client, f"{name}, {shown[0][1]}", shown[0][2]) for client, name in several]
    for number, (client, name, row) in enumerate(shown):
        buckets = [line for line in _client(folder, row, client) if line["type"] == "bucket"]
        if not buckets:
            continue
        usual_us = median(line["us"] for line in buckets)
        buckets = [line for line in buckets if 2 * line["us"] >= usual_us]  # the last one may be a scrap
        start = row.get("fault_us", buckets[0]["time_us"])
        at = [(line["time_us"] - start) / 1e6 for line in buckets]
        heights = [height(line) for line in buckets]
        (drawn,) = axes.plot(at, heights, lw=1.1, drawstyle="steps-pre", label=name)
        if study.sweep or not number:
            color = drawn.get_color() if study.sweep else TAKEOVER
            _mark(axes, folder, row, start, named=not number, color=color)
    _label_time(axes, study)
    axes.set_ylabel("answers per second" if counts else "Mbit/s, both ways")
    axes.set_ylim(bottom=0)


def _label_time(axes: Any, study: Study) -> None:
    axes.set_xlabel("seconds after the first fault" if study.fault else "seconds")


def _gaps(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    if several := _several(study):
        named = [(f"{name}: ", _gaps_of(folder, rows, client), rows) for client, name in several]
    else:
        series = _series(rows, study)
        named = [
            (f"{name}: " if study.sweep else "", values(mine, "longest_gap_ms"), mine)
            for name, mine in series
        ]
    found = {name + (_lost(mine) or counted(len(gaps))): (sorted(gaps), mine) for name, gaps, mine in named}
    for name, (gaps, mine) in found.items():
        if not gaps:
            axes.plot([], [], label=name)
            continue
        parts = [i / (len(gaps) + len(lost(mine))) for i in range(len(gaps) + 1)]
        (line,) = axes.step([gaps[0], *gaps], parts, where="post", label=name)
        axes.plot(gaps, parts[1:], "o", ms=3, color=line.get_color())
    everything = [gap for gaps, _ in found.values() for gap in gaps]
    if everything and 0 < LOG_FROM * min(everything) < max(everything):
        _logarithmic(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    axes.set_xlabel(COLUMNS["longest_gap_ms"])
    axes.set_ylabel("share of the runs")
    axes.set_ylim(0, 1.04)


def _gaps_of(folder: Folder, rows: Sequence[Row], client: int) -> list[float]:
    """The longest silence of one client in each run that went well, in ms."""
    said = [line for row in rows if row["ok"] for line in _client(folder, row, client)]
    return [line["longest_gap_us"] / 1000 for line in said if line["type"] == "end"]


def _lost(rows: Sequence[Row]) -> str:
    """What a legend says of runs with lost connections; nothing if there is none."""
    tested = sum("late_ms" not in row for row in rows)
    return f"lost: {len(lost(rows))} of {counted(tested)}" if lost(rows) else ""


def _crosses(axes: Any, figure: Figure, places: Sequence[tuple[float, Sequence[Row]]]) -> list[float]:
    """Runs with lost connections at the place of their combination, if it is not them that are counted;
    return their values."""
    everything = [row for _, mine in places for row in mine]
    if figure.value == "lost" or not lost(everything):
        return []
    found = [
        (place, float(row[figure.value]))
        for place, mine in places
        for row in lost(mine)
        if row.get(figure.value) is not None
    ]
    axes.plot([place for place, _ in found], [value for _, value in found], label=_lost(everything), **LOST)
    return [value for _, value in found]


def _parameter(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    across = _across(study)
    if across is None:
        everything = _side_by_side(axes, figure, study, rows)
    else:
        everything = _over_numbers(axes, figure, study, rows, across)
    axes.set_ylabel(COLUMNS[figure.value])
    if everything and 0 < LOG_FROM * min(everything) < max(everything):
        _logarithmic(axes.yaxis)
        return
    axes.set_ylim(0, max(1.08 * max(everything, default=1.0), 1e-9))
    axes.yaxis.set_major_formatter("{x:,.10g}")
    if figure.value in COUNTS:
        axes.yaxis.get_major_locator().set_params(integer=True)


def _over_numbers(axes: Any, figure: Figure, study: Study, rows: Sequence[Row], across: str) -> list[float]:
    """Medians over what `across` was, to scale: a line for all else that was swept. Return all values."""
    found: dict[tuple[Any, ...], dict[float, list[float]]] = {}
    for parameters, mine in combined(study, rows):
        others = tuple(value for key, value in parameters.items() if key != across)
        found.setdefault(others, {})[parameters[across]] = values(mine, figure.value)
    for others, measured in found.items():
        name = ", ".join(map(_short, others))
        at = {place: measured[place] for place in sorted(measured) if measured[place]}
        line = {"lw": 1.2, "marker": "_", "ms": 16, "mew": 2, "label": name or "median"}
        (drawn,) = axes.plot(list(at), list(map(median, at.values())), **line)
        runs = [place for place, some in at.items() for _ in some]
        label = None if name else "a run"
        axes.plot(
            runs, list(chain(*at.values())), "o", color=drawn.get_color(), ms=3.5, alpha=0.5, label=label
        )
    _number_axis(axes.xaxis, sorted({float(place) for measured in found.values() for place in measured}))
    axes.set_xlabel(f"{across}, bytes per second" if across.endswith(".rate") else across)
    places_of = [(float(parameters[across]), mine) for parameters, mine in combined(study, rows)]
    crosses = _crosses(axes, figure, places_of)
    return [*crosses, *(value for measured in found.values() for some in measured.values() for value in some)]


def _number(value: float) -> str:
    return f"{value:,.10g}"


def _number_axis(axis: Any, places: Sequence[float]) -> None:
    """To scale, with a tick at each place if there is room."""
    if 0 < LOG_FROM * places[0] < places[-1]:
        _logarithmic(axis)
        if all(after >= CLOSEST_RATIO * before for before, after in pairwise(places)):
            axis.set_ticks(places, [_number(place) for place in places])
    elif all(
        after - before >= CLOSEST_TICKS * (places[-1] - places[0]) for before, after in pairwise(places)
    ):
        axis.set_ticks(places, [_number(place) for place in places])


def _side_by_side(axes: Any, figure: Figure, study: Study, rows: Sequence[Row]) -> list[float]:
    """All that was swept, each at a place of its own; return all values."""
    places, names, medians, everything = [], [], [], []
    for place, (name, mine) in enumerate(_series(rows, study)):
        found = values(mine, figure.value)
        names.append(name)
        label = None if place else "a run"
        axes.plot(
            [place] * len(found), found, "o", color="#546e7a", ms=3.5, alpha=0.6, label=label, clip_on=False
        )
        if found:
            places.append(place)
            medians.append(median(found))
            everything += found
    axes.plot(places, medians, label="median", lw=0, color="#0d47a1", marker="_", ms=16, mew=2, clip_on=False)
    everything += _crosses(axes, figure, [(i, mine) for i, (_, mine) in enumerate(_series(rows, study))])
    axes.set_xlim(-0.5, len(names) - 0.5)
    wide = sum(map(len, names)) > TICKS_IN_A_ROW
    axes.set_xticks(range(len(names)), names, fontsize=8, **({"rotation": 20, "ha": "right"} if wide else {}))
    axes.set_xlabel(", ".join(study.sweep))
    return everything


def _logarithmic(axis: Any) -> None:
    """With numbers that can be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    {"x": axis.axes.set_xscale, "y": axis.axes.set_yscale}[axis.axis_name]("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    axis.set_minor_formatter(NullFormatter())


def _waits(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    quantiles = {"p10": "10 %", "p50": "50 %", "p90": "90 %", "p99": "99 %", "p999": "99.9 %"}
    for name, mine in _series(rows, study):
        columns = [values(mine, f"wait_{quantile}_us") for quantile in quantiles]
        if all(columns):
            axes.plot(list(quantiles.values()), list(map(median, columns)), marker="o", ms=3, label=name)
    _logarithmic(axes.yaxis)
    axes.set_xlabel("share of the answers")
    axes.set_ylabel("came within so many µs")


def _lag(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    everything: list[float] = []
    for number, (name, row) in enumerate(_shown(rows, study)):
        said = _client(folder, row, 0) if study.client[0].measure else []
        until = said[-1]["time_us"] if said else math.inf  # then nothing waits any more
        samples = [
            s
            for s in lines(folder.run(row["run"]) / "nodes.jsonl")
            if s["role"] == "primary" and s["lag_us_p99"] and s["time_us"] <= until
        ]
        if not samples:
            continue
        start = row.get("fault_us", samples[0]["time_us"])
        (drawn,) = axes.plot(*_unbroken(samples, start), lw=1, label=name)
        everything += [s["lag_us_p99"] for s in samples]
        _mark(
            axes, folder, row, start, named=not number, color=drawn.get_color() if study.sweep else TAKEOVER
        )
    _label_time(axes, study)
    axes.set_ylabel("µs, p99 of the last 1,024 packets")
    if everything and LOG_FROM * min(everything) < max(everything):
        _logarithmic(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)


def _unbroken(samples: Sequence[Row], start_us: float) -> tuple[list[float], list[float]]:
    """Moments and lags, with a break where nobody had one, or another node had."""
    at, lags = [], []
    for before, sample in zip([samples[0], *samples], samples, strict=False):
        if before["node"] != sample["node"] or sample["time_us"] - before["time_us"] > LAPSE_S * 1e6:
            at.append(math.nan)
            lags.append(math.nan)
        at.append((sample["time_us"] - start_us) / 1e6)
        lags.append(sample["lag_us_p99"])
    return at, lags


def _sequence(axes: Any, figure: Figure, study: Study, folder: Folder, rows: Sequence[Row]) -> None:
    """Around the fault, where the run has one, and the server says more than a few words then."""
    name, row = next(_shown(rows, study))
    found = points(folder.run(row["run"]) / PACKETS)
    start = row.get("fault_us", found.data[0].time_us if found.data else 0)
    early, late = _window(found.data, start) if "fault_us" in row else (-math.inf, math.inf)
    places = [point.number for seen in (found.data, found.acknowledged) for point in seen]
    unit = next(unit for unit, most in STREAM_UNITS.items() if max(places, default=0) <= most)
    scale = 1e3 ** list(STREAM_UNITS).index(unit)

    def shown(seen: Sequence[Point]) -> tuple[list[float], list[float]]:
        near = [((point.time_us - start) / 1e6, point.number / scale) for point in seen]
        chosen = [place for place in near if early <= place[0] <= late]
        return [x for x, _ in chosen], [y for _, y in chosen]

    axes.plot(
        *shown(found.acknowledged), color="#9e9e9e", lw=0.9, drawstyle="steps-post", label="acknowledged"
    )
    axes.plot(*shown(found.data), "|", color="#0d47a1", ms=5, label="sent")
    axes.plot(*shown(found.repeated), "|", color=TROUBLE, ms=5, label="sent again")
    _mark(axes, folder, row, start, within=(early, late))
    _label_time(axes, study)
    axes.set_xlabel(f"{axes.get_xlabel()} ({name})")
    axes.set_ylabel(f"{unit} of the server's stream")


def _window(sent: Sequence[Point], start_us: float) -> tuple[float, float]:
    """Seconds around a fault; all, where there is hardly anything in them."""
    early, late = AROUND_S
    near = sum(early <= (point.time_us - start_us) / 1e6 <= late for point in sent)
    return AROUND_S if near >= FEW_SEGMENTS else (-math.inf, math.inf)


def _mark(
    axes: Any,
    folder: Folder,
    row: Row,
    start_us: float,
    within: tuple[float, float] = (-math.inf, math.inf),
    named: bool = True,
    color: str = TAKEOVER,
) -> None:
    """Draw faults and repairs of a run, and in `color` when a node began to serve; `named`: in the legend."""
    seen = set()
    for event in lines(folder.run(row["run"]) / "events.jsonl"):
        at = (event["time_us"] - start_us) / 1e6
        serves = event["event"] == "role" and (event["role"], event["was"]) == ("primary", "following")
        serves = serves and "takeover_ms" in row  # else another system leads the clients
        if within[0] <= at <= within[1] and (event["event"] == "fault" or serves):
            name = "takeover" if serves else "repair" if event["fault"] in REPAIRS else "fault"
            label = name if named and name not in seen else None
            seen.add(name)
            drawn, style = {"fault": (FAULT, "-"), "repair": (REPAIR, ":"), "takeover": (color, "--")}[name]
            axes.axvline(at, color=drawn, lw=0.9, ls=style, label=label)


def _client(folder: Folder, row: Row, number: int) -> list[dict[str, Any]]:
    return lines(folder.run(row["run"]) / f"client-{number}.jsonl")


_KINDS: dict[str, Callable[[Any, Figure, Study, Folder, Sequence[Row]], None]] = {
    "timeline": _timeline,
    "gaps": _gaps,
    "parameter": _parameter,
    "waits": _waits,
    "lag": _lag,
    "sequence": _sequence,
}
