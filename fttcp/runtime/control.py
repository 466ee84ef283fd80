"""The control socket: one JSON request line, one JSON reply line, over a Unix stream socket.

Requests: {"op": "status"}, {"op": "connections", "group": G?, "limit": N?}, {"op": "counters"},
{"op": "switchover", "group": G}, {"op": "events", "since": N?}. A reply has "error" if the request
could not be served.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fttcp.runtime.events import History
from fttcp.runtime.group import GroupRuntime

_MAX_REQUEST = 65536
_MAX_FLOWS = 100_000
_DEFAULT_FLOWS = 10_000


class RequestError(Exception):
    """A request cannot be served; the sentence goes to the asker."""


class ControlServer:
    """Answers questions about the node, and passes requests on to its groups."""

    def __init__(self, node: str, groups: Mapping[str, GroupRuntime], history: History) -> None:
        self._node, self._groups, self._history = node, groups, history
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen at ``path``, for root only. A socket file that is left there is replaced."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_MAX_REQUEST)
        path.chmod(0o600)
        self._path = path

    async def close(self) -> None:
        """Stop listening and remove the socket file."""
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            self._history.add("control-error", "warning", why=str(error))
        finally:
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return the reply to a request line."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise RequestError(f"a request is a JSON object, not {request!r:.80}")
            return self._dispatch(request)
        except ValueError as error:
            return {"error": f"the request is not JSON: {error}"}
        except RequestError as error:
            return {"error": str(error)}

    def _dispatch(self, request: dict[str, Any]) -> dict[str, Any]:
        match request.get("op"):
            case "status":
                groups = [group.status() for group in self._groups.values()]
                return {"node": self._node, "alive": True, "groups": groups}
            case "connections":
                limit = _number(request, "limit", _DEFAULT_FLOWS, _MAX_FLOWS)
                chosen = self._chosen(request)
                flows = [
                    {"group": group.name} | flow for group in chosen for flow in group.connections(limit)
                ]
                return {"node": self._node, "connections": flows}
            case "counters":
                return {"node": self._node, "counters": {g.name: g.counters() for g in self._chosen(request)}}
            case "events":
                return {
                    "node": self._node,
                    "events": self._history.since(_number(request, "since", 0, 2**63)),
                }
            case "switchover":
                return self._switchover(request)
            case op:
                raise RequestError(
                    f"op {op!r:.80} is none of status, connections, counters, events, switchover"
                )

    def _chosen(self, request: dict[str, Any]) -> list[GroupRuntime]:
        name = request.get("group")
        if name is None:
            return list(self._groups.values())
        if name not in self._groups:
            raise RequestError(f"group {name!r:.80} is not on this node (groups: {', '.join(self._groups)})")
        return [self._groups[name]]

    def _switchover(self, request: dict[str, Any]) -> dict[str, Any]:
        if "group" not in request:
            raise RequestError("switchover needs a group")
        (group,) = self._chosen(request)
        was_primary = group.machine.role
        refusal = group.request_switchover()
        if refusal is not None:
            raise RequestError(f"group {group.name}: {refusal.value}")
        return {"node": self._node, "group": group.name, "started": True, "role": was_primary.value}


def _number(request: dict[str, Any], key: str, default: int, most: int) -> int:
    value = request.get(key, default)
    if type(value) is not int or not 0 <= value <= most:
        raise RequestError(f"{key}: {value!r:.80} is not an integer from 0 to {most}")
    return value
