"""What single features cost: the same measures with one setting changed, side by side."""

from __future__ import annotations

from functools import partial

from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Measure, Scenario
from lab.bench.scenarios.bulk import SECONDS, transfer
from lab.bench.scenarios.echo import echo
from lab.bench.stage import Setup

VARIANTS = ("compare=false", "experiment.strict_commit=false", "workers=2", "encrypt=true")
MEASURES: dict[str, tuple[Measure, str]] = {
    "download": (partial(transfer, direction="download"), "Mbit/s"),
    "upload": (partial(transfer, direction="upload"), "Mbit/s"),
    "echo": (partial(echo, size=64), "us"),
}


def _cases(name: str, measure: Measure, unit: str) -> tuple[Case, ...]:
    plain = Case(f"cost.{name}", Setup(), (NATIVE, FTTCP), measure, unit, seconds=SECONDS + 1)
    changed = [
        Case(
            f"cost.{name}",
            Setup(settings=(setting,)),
            (FTTCP,),
            measure,
            unit,
            seconds=SECONDS + 1,
            label=f"{FTTCP} {setting}",
        )
        for setting in VARIANTS
    ]
    return (plain, *changed)


SCENARIO = Scenario(
    "cost",
    "What features cost: one setting changed, everything else as it is by default",
    tuple(_cases(name, *of) for name, of in MEASURES.items()),
)
