"""Plots of the rows, one file for each table, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from lab.bench.rows import Row, family

BAR = 0.8
"""Height of all bars of one scenario together, where the next one is at a distance of 1."""
INCHES_PER_BAR = 0.16
WIDTH_INCHES = 9
LOG_FROM = 30
"""Largest and smallest median that are so many times apart are shown on a logarithmic axis."""


class PlotError(RuntimeError):
    """Plots cannot be made; the text says what to do."""


def require_matplotlib() -> None:
    """Raise PlotError when it is not installed."""
    try:
        import matplotlib
    except ImportError as error:
        raise PlotError("--plot needs matplotlib: pip install 'fttcp[bench]'") from error
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "fttcp"  # the same figures make the same file


def plot(rows: Sequence[Row], titles: Mapping[str, str], directory: Path) -> dict[str, Path]:
    """Write one SVG file for each table to `directory`; returns table -> file.

    Bars are medians, lines on them reach from the smallest to the largest sample. Rows without samples are
    left out. Raises PlotError without matplotlib.
    """
    require_matplotlib()
    directory.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, group in groupby((row for row in rows if row.n), key=lambda row: family(row.scenario)):
        files[name] = directory / f"{name}.svg"
        _table(list(group), titles.get(name, name), files[name])
    return files


def _table(rows: Sequence[Row], title: str, file: Path) -> None:
    """One chart for each unit, one below the other."""
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    units = list(dict.fromkeys(row.unit for row in rows))
    parts = [[row for row in rows if row.unit == unit] for unit in units]
    heights = [max(len(part) * INCHES_PER_BAR + 0.6, 1.2) for part in parts]
    figure, axes = pyplot.subplots(
        len(units),
        squeeze=False,
        figsize=(WIDTH_INCHES, sum(heights) + 0.6),
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    systems = list(dict.fromkeys(row.system for row in rows))
    for axis, unit, part in zip(axes[:, 0], units, parts, strict=True):
        _chart(axis, unit, part, systems)
    handles = [Patch(color=f"C{number}", label=system) for number, system in enumerate(systems)]
    figure.legend(handles=handles, fontsize=7, loc="outside lower center", ncols=len(handles))
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _chart(axis: Any, unit: str, rows: Sequence[Row], systems: Sequence[str]) -> None:
    """Bars by scenario, in the colour of their system."""
    scenarios = list(dict.fromkeys(row.scenario for row in rows))
    for place, scenario in enumerate(scenarios):
        own = [row for row in rows if row.scenario == scenario]
        thickness = BAR / len(own)
        for number, row in enumerate(own):
            assert row.median is not None and row.min is not None and row.max is not None
            axis.barh(
                place - BAR / 2 + (number + 0.5) * thickness,
                row.median,
                thickness * 0.9,
                color=f"C{systems.index(row.system)}",
                xerr=[[row.median - row.min], [row.max - row.median]],
                error_kw={"elinewidth": 0.8},
            )
    axis.set_yticks(range(len(scenarios)), [name.partition(".")[2] for name in scenarios], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel(unit, fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    medians = [row.median for row in rows if row.median and row.median > 0]
    if medians and max(medians) > LOG_FROM * min(medians):
        axis.set_xscale("log")
