"""OCF resource agents as they are: what their meta-data says, and what they are told.

The resource agent API 1.0 and 1.1 (github.com/ClusterLabs/OCF-spec, ra/1.1/resource-agent-api.md).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from xml.etree import ElementTree

DEFAULT_ROOT = "/usr/lib/ocf"
Value = str | int | bool

_BEGIN, _END = "<resource-agent", "</resource-agent>"
_SPAN = re.compile(r"\s*(\d{1,9})\s*(ms|msec|s|sec|m|min|h|hr|)\s*")
_SECONDS = {"ms": 0.001, "msec": 0.001, "": 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600}
_TRUTH = frozenset({"true", "false", "yes", "no", "on", "off", "1", "0", "y", "n"})


class Exit(IntEnum):
    """What an agent's exit status means."""

    SUCCESS = 0
    GENERIC = 1
    ARGS = 2
    UNIMPLEMENTED = 3
    PERM = 4
    INSTALLED = 5
    CONFIGURED = 6
    NOT_RUNNING = 7
    RUNNING_PROMOTED = 8
    FAILED_PROMOTED = 9


MEANINGS = {
    Exit.GENERIC: "it failed",
    Exit.ARGS: "a parameter is wrong",
    Exit.UNIMPLEMENTED: "the agent has no such action",
    Exit.PERM: "it lacks rights: does the daemon run as root?",
    Exit.INSTALLED: "what it needs is not installed on this host",
    Exit.CONFIGURED: "the resource is configured wrong",
    Exit.NOT_RUNNING: "it does not run",
    Exit.RUNNING_PROMOTED: "it runs, promoted",
    Exit.FAILED_PROMOTED: "it runs promoted, and has failed",
}
ABSENT = frozenset({Exit.ARGS, Exit.UNIMPLEMENTED, Exit.PERM, Exit.INSTALLED, Exit.CONFIGURED})
"""It cannot run on this host before somebody changes something."""


class AgentError(Exception):
    """An agent is not there, or says of itself what cannot be understood; the sentence says what to do."""


class NoAgent(AgentError):
    """There is no such agent on this host."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of an agent's parameters. ``kind``: string, integer, boolean, or what else the agent calls it."""

    name: str
    required: bool
    kind: str


@dataclass(frozen=True, slots=True)
class MetaData:
    """What an agent says of itself. ``timeouts``: in seconds, by action, as far as it advises any."""

    parameters: tuple[Parameter, ...]
    timeouts: Mapping[str, float]


def root() -> str:
    """Where agents are (OCF_ROOT)."""
    return os.environ.get("OCF_ROOT") or DEFAULT_ROOT


def find(agent: str) -> Path:
    """Return the program of ``ocf:PROVIDER:TYPE``. Raises NoAgent."""
    _, provider, kind = agent.split(":")
    path = Path(root()) / "resource.d" / provider / kind
    if not os.access(path, os.X_OK) or not path.is_file():
        raise NoAgent(
            f"there is no agent {agent}: {path} is no program (apt-get install resource-agents, "
            "or correct the name)"
        )
    return path


def read(agent: str, output: str) -> MetaData:
    """Understand what the action ``meta-data`` has said; what stands around the document is left out. Raises
    AgentError."""
    begin, end = output.find(_BEGIN), output.rfind(_END)
    if not 0 <= begin < end:
        raise AgentError(f"agent {agent}: its meta-data is no <resource-agent> document")
    if "<!ENTITY" in output:
        raise AgentError(f"agent {agent}: its meta-data defines entities, which are not read")
    try:
        document = ElementTree.fromstring(output[begin : end + len(_END)])
    except ElementTree.ParseError as error:
        raise AgentError(f"agent {agent}: its meta-data is not XML: {error}") from error
    parameters = (
        Parameter(name, one.get("required", "0").lower() in ("1", "true", "yes"), _kind(one))
        for one in document.iterfind("./parameters/parameter")
        if (name := one.get("name"))
    )
    timeouts = {
        name: span
        for one in document.iterfind("./actions/action")
        if (name := one.get("name")) and (span := seconds(one.get("timeout", ""))) is not None
    }
    return MetaData(tuple(parameters), timeouts)


def _kind(parameter: ElementTree.Element) -> str:
    content = parameter.find("content")
    return "string" if content is None else content.get("type", "string")


def seconds(text: str) -> float | None:
    """Read a time as meta-data has it (``20``, ``20s``, ``1min``); None for what is none."""
    found = _SPAN.fullmatch(text.lower())
    return None if found is None else int(found[1]) * _SECONDS[found[2]]


def wrong(agent: str, given: Mapping[str, Value], known: MetaData) -> Iterator[str]:
    """Yield what is wrong with the parameters that a resource gives an agent."""
    parameters = {one.name: one for one in known.parameters}
    for name, value in given.items():
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(parameters) or 'none'}"
            yield f"agent {agent} has no parameter {name!r} ({hint})"
        elif why := _misfit(as_text(value), parameters[name].kind):
            yield f"parameter {name!r} of agent {agent}: {as_text(value)!r} is {why}"
    for one in known.parameters:
        if one.required and one.name not in given:
            yield f"agent {agent} needs the parameter {one.name!r}"


def _misfit(text: str, kind: str) -> str:
    if kind == "integer" and not re.fullmatch(r"[-+]?\d+", text):
        return "not an integer"
    if kind == "boolean" and text.lower() not in _TRUTH:
        return "not a boolean (allowed: true, false)"
    return ""


def as_text(value: Value) -> str:
    """Return a parameter as agents read it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def environment(
    agent: str, instance: str, parameters: Mapping[str, Value], action: str, timeout_s: float, interval_s: int
) -> dict[str, str]:
    """Return what an agent is told. ``interval_s`` 0: the action is done once, a probe if it is ``monitor``.
    What begins with CRM_meta is not in the API, but agents look at it."""
    _, provider, kind = agent.split(":")
    return {
        "OCF_ROOT": root(),
        "OCF_RA_VERSION_MAJOR": "1",
        "OCF_RA_VERSION_MINOR": "1",
        "OCF_RESOURCE_INSTANCE": instance,
        "OCF_RESOURCE_TYPE": kind,
        "OCF_RESOURCE_PROVIDER": provider,
        "OCF_CHECK_LEVEL": "0",
        "OCF_RESKEY_CRM_meta_name": action,
        "OCF_RESKEY_CRM_meta_interval": str(1000 * interval_s),
        "OCF_RESKEY_CRM_meta_timeout": str(int(1000 * timeout_s)),
        **{f"OCF_RESKEY_{name}": as_text(value) for name, value in parameters.items()},
    }
