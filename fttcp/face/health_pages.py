"""What load balancers are told: made from the same status that operators see."""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus

from fttcp.face.http import Page
from fttcp.group.shown import Status, is_primary, is_ready

_PATHS = "/metrics, /health/live, /health/primary[/GROUP], /health/ready[/GROUP]"


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
