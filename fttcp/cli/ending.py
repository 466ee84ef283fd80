"""What a planned act would end: said before it, waited for, or gone ahead with."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from fttcp.cli.client import ask, show_json
from fttcp.cli.failure import CommandError

_SHOWN = 10
_MOST = 100_000
"""Connections that the daemon tells of at once."""
_POLL_S = 0.1
_TELL_S = 1.0
_MOMENT_S = 0.1
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}

Flow = dict[str, Any]
_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Duration(click.ParamType[float]):
    """A number with ms, s, m or h; seconds without."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", str(value))
        if found is None:
            self.fail(f"{value!r} is no time: write for example 30s, 5m or 500ms", param, ctx)
        return float(found[1]) * _UNITS[found[2]]


def planned_options(function: _Function) -> _Function:
    """Add --check, --drain and --force."""
    for option in (
        click.option("--force", is_flag=True, help="Go ahead, whatever it ends."),
        click.option(
            "--drain", type=_Duration(), metavar="TIME", help="Wait so long (30s, 5m) for what it would end."
        ),
        click.option("--check", is_flag=True, help="Only say which connections it would end."),
    ):
        function = option(function)
    return function


def would_end(path: Path, groups: Sequence[str], stops: bool = False) -> list[Flow]:
    """Return the connections that these groups lose if this node stops serving them at this moment: all of
    them where the node ``stops`` and nobody takes over. Of each group the first 100,000 are looked at."""
    flows: list[Flow] = []
    for group in groups:
        flows += ask(path, op="connections", group=group, limit=_MOST)["connections"]
    alone = {state["name"] for state in _states(path, groups) if _alone(state)} if stops else set()
    lost = [flow for flow in flows if not flow["continues"] or flow["group"] in alone]
    return [flow for flow in lost if flow["protection"] != "resetting"]


def say(ended: Sequence[Flow], act: str, as_json: bool, about: dict[str, Any]) -> None:
    """Print what ``act`` would end now; ``about``: what else programs are told."""
    if as_json:
        show_json({**about, "would_end": [flow["flow"] for flow in ended]})
    else:
        click.echo("\n".join([f"{act} now resets {counted(ended)}", *shown(ended)]))


def shown(ended: Sequence[Flow]) -> list[str]:
    """Return lines for people: some of them, and how many there are more."""
    lines = [f"  {flow['flow']}  {flow['protection']} ({flow['reason']})" for flow in ended[:_SHOWN]]
    more = len(ended) - _SHOWN
    return [*lines, f"  and {more} more: `fttcp connections` has all"] if more > 0 else lines


def counted(ended: Sequence[Flow]) -> str:
    """`3 connections (2 unprotected, 1 detached)`; of a protected one that ends the outputs differ, or nobody
    takes it over."""
    kinds = Counter(flow["protection"] for flow in ended)
    which = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    return f"{len(ended)} connection{'s' * (len(ended) != 1)}" + (f" ({which})" if which else "")


def settle(
    path: Path,
    act: str,
    groups: Sequence[str],
    drain_s: float | None,
    force: bool,
    stops: bool = False,
    renewals_waited_for: bool = False,
) -> dict[str, Any]:
    """Return when ``act`` would end nothing of these groups, which this node serves, or may end all of it:
    what a program is told of that. ``renewals_waited_for``: the daemon lets a renewal come to its end first.
    Raises CommandError."""

    def what_is_left() -> list[Flow]:
        flows = would_end(path, groups, stops)
        return [flow for flow in flows if not (renewals_waited_for and flow.get("catching"))]

    if force and not drain_s:  # whatever they are: nobody looks at each of a hundred thousand
        drained = {} if drain_s is None else {"drained_ms": 0.0}
        return {"ended": _number(path, groups, stops), **drained}
    begun = time.monotonic()
    if drain_s is not None:
        _drain(path, act, groups, begun + drain_s, stops)
    left = what_is_left()
    while any(map(_passing, left)) and time.monotonic() < begun + (drain_s or 0) + _MOMENT_S:
        time.sleep(_MOMENT_S / 10)
        left = what_is_left()
    told: dict[str, Any] = {"ended": len(left)}
    if drain_s is not None:
        told["drained_ms"] = round((time.monotonic() - begun) * 1000, 1)
    if left and not force:
        waited = f" after {drain_s:g} s" if drain_s is not None else ""
        advice = "--force goes ahead" + ("" if drain_s is not None else ", --drain 30s waits for them")
        lines = [f"{act} would reset {counted(left)}{waited}; {advice}", *shown(left)]
        raise CommandError("\n".join(lines), "would-end", would_end=[flow["flow"] for flow in left], **told)
    return told


def _passing(flow: Flow) -> bool:
    """True of one whose outputs differ now: most do so for some milliseconds."""
    return flow["protection"] == "protected" and not flow["continues"]


def _drain(path: Path, act: str, groups: Sequence[str], end: float, stops: bool) -> None:
    """Wait for the end of what would be ended. Progress goes to stderr."""
    told, next_s = -1, 0.0
    while number := _number(path, groups, stops):
        now = time.monotonic()
        if number != told and now >= next_s:
            click.echo(f"{act} waits for {counted(would_end(path, groups, stops))}", err=True)
            told, next_s = number, now + _TELL_S
        if now >= end:
            return
        time.sleep(min(_POLL_S, end - now))


def _number(path: Path, groups: Sequence[str], stops: bool) -> int:
    """As many as `would_end` has, without asking for each of them."""
    flows = [(state["flows"], stops and _alone(state)) for state in _states(path, groups) if "flows" in state]
    return sum(of["ending"] + (of["protected"] + of["opening"] if lost else 0) for of, lost in flows)


def _states(path: Path, groups: Sequence[str]) -> list[dict[str, Any]]:
    return [state for state in ask(path, op="status")["groups"] if state["name"] in groups]


def _alone(state: dict[str, Any]) -> bool:
    """True if nobody takes the group over when this node stops."""
    return bool(state["paused"] or not state["synced"])
