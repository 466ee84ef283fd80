"""What single features cost: the same measures with one setting changed, side by side."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Measure, Scenario
from lab.bench.scenarios.bulk import SECONDS, transfer
from lab.bench.scenarios.echo import echo
from lab.bench.scenarios.http import NGINX, wrk
from lab.bench.stage import Setup

VARIANTS = ("compare=false", "experiment.strict_commit=false", "workers=2", "encrypt=true", "order=service")
PLAIN = Setup()
MEASURES: dict[str, tuple[Measure, str, Setup]] = {
    "download": (partial(transfer, direction="download"), "Mbit/s", PLAIN),
    "upload": (partial(transfer, direction="upload"), "Mbit/s", PLAIN),
    "echo": (partial(echo, size=64), "us", PLAIN),
    "http": (partial(wrk, options=()), "requests/s", NGINX),
}


def _cases(name: str, measure: Measure, unit: str, setup: Setup) -> tuple[Case, ...]:
    needs = ("wrk", "nginx") if setup is NGINX else ()
    plain = Case(f"cost.{name}", setup, (NATIVE, FTTCP), measure, unit, seconds=SECONDS + 1, needs=needs)
    changed = [
        Case(
            f"cost.{name}",
            replace(setup, settings=(setting,)),
            (FTTCP,),
            measure,
            unit,
            seconds=SECONDS + 1,
            label=f"{FTTCP} {setting}",
            needs=needs,
        )
        for setting in VARIANTS
    ]
    return (plain, *changed)


SCENARIO = Scenario(
    "cost",
    "What features cost: one setting changed, everything else as it is by default",
    tuple(_cases(name, *of) for name, of in MEASURES.items()),
)
