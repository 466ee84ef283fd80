"""What load balancers are told: made from the same status that operators see."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fttcp.runtime.http import Page

Status = dict[str, Any]
"""As the operation ``status`` replies, or one group of it."""

_PATHS = "/metrics, /health/live, /health/primary[/GROUP], /health/ready[/GROUP]"


def is_primary(group: Status) -> bool:
    """True if this node serves the group now: a primary with a valid lease."""
    return bool(group["role"] == "primary" and group.get("lease_ms_left", 0) > 0)


def is_ready(group: Status) -> bool:
    """True if this node serves the group, and nothing says that it does not really; or if it could take over
    with every protected connection if the primary were lost now: in step, and nothing is in the way."""
    reasons = group.get("not_ready", [])
    if is_primary(group):
        return not any(reason["hinders"] == "service" for reason in reasons)
    return bool(group["role"] == "backup" and group["synced"] and not reasons)


_QUESTIONS: dict[str, Callable[[Status], bool]] = {"primary": is_primary, "ready": is_ready}


def health(question: str, name: str, status: Status) -> Page:
    """Answer /health/QUESTION[/NAME]: 200 if true of the group, or of every group; else 503."""
    if question == "live" and not name:
        return _json(HTTPStatus.OK, {"node": status["node"], "live": True})
    groups = [group for group in status["groups"] if not name or group["name"] == name]
    if question not in _QUESTIONS or (name and not groups):
        return _json(HTTPStatus.NOT_FOUND, {"error": f"there is nothing here; there are {_PATHS}"})
    told = {group["name"]: _QUESTIONS[question](group) for group in groups}
    good = bool(told) and all(told.values())
    body = {"node": status["node"], question: good, "groups": told}
    return _json(HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE, body)


def _json(status: HTTPStatus, value: object) -> Page:
    return Page(status, json.dumps(value).encode() + b"\n")
