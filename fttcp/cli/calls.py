"""What `fttcp status` says of a server that is kept in step by its calls; docs/status.md has the fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WORDS = {
    "none": "no server runs",
    "leads": "it leads, and no other server follows it yet",
    "cut": "the log was longer than limits.calls_bytes: no other server can begin to follow this one",
    "follows": "catches up with the primary's server",
    "caught-up": "caught up with the primary's server",
    "alone": "the server followed one that is gone: no other server can begin to follow it",
}


def lines(told: Mapping[str, Any]) -> list[str]:
    """Return it for people."""
    state = told["state"]
    leads = state in ("leads", "cut")
    if state == "broken":
        return [f"NOT PROTECTED  {_where(told['broken'])}"]
    if state == "alone" or (state == "cut" and not told["in_step"]):
        return [f"NOT PROTECTED  {_WORDS[state]}"]
    words = "it leads, and another server follows" if leads and told["in_step"] else _WORDS[state]
    waits = f"; output waited {told['waits']} times" if told["waits"] else ""
    found = [
        f"calls        {words}" + (f", {told['log_bytes']} bytes of log{waits}" if state != "none" else "")
    ]
    return [*found, f"NOT AGAIN    {_WORDS[state]}"] if state == "cut" else found


def _where(broken: Mapping[str, Any]) -> str:
    """Return where and why servers ceased to do the same."""
    said = broken["leader_call"]
    other = f"; the leader's call was {said}" if said not in ("none", broken["call"]) else ""
    return (
        f"at {broken['call']} (thread {broken['thread']}, call {broken['nth']}) by {broken['program']}, pid "
        f"{broken['pid']} of {broken['on']}: {broken['why']}{other}"
    )
