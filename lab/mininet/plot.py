"""Draws what `pair.py --points` has written: `python -m lab.mininet.plot FILE.csv FILE.svg`."""

from __future__ import annotations

import csv
import sys
from itertools import pairwise
from pathlib import Path


def main() -> None:
    """Read points, write a picture; the ending of its name says which kind."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m lab.mininet.plot FILE.csv FILE.svg")
    points = Path(sys.argv[1])
    try:
        draw(points, Path(sys.argv[2]))
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
    except (KeyError, ValueError):
        sys.exit(f"error: {points}: it has no points; let `lab/mininet/pair.py --points {points}` write it")


def draw(points: Path, picture: Path) -> None:
    """Draw bytes over time, with the fault at 0 s and the longest silence behind it marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with points.open(newline="") as rows:
        table = [(float(row["seconds_after_fault"]), int(row["bytes"]) / 1e6) for row in csv.DictReader(rows)]
    seconds, megabytes = zip(*table, strict=True)
    later = [(after - before, before, after) for before, after in pairwise(seconds) if after > 0]
    figure, axes = pyplot.subplots(figsize=(7, 3.5))
    axes.step(seconds, megabytes, where="post")
    axes.axvline(0, linestyle="--", color="tab:red", label="fault")
    if later:
        gap, begin, end = max(later)
        axes.axvspan(begin, end, alpha=0.3, color="tab:orange", label=f"silence of {gap * 1e3:.1f} ms")
    axes.set(xlabel="seconds after the fault", ylabel="MB received")
    axes.legend()
    figure.tight_layout()
    figure.savefig(picture)


if __name__ == "__main__":
    main()
