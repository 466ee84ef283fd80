"""The control socket: one JSON request line, one JSON reply line, over a Unix stream socket.

What can be asked is in operations.py. A reply has "error" and "reason" if the request could not be
served. One request is answered by a stream: {"op": "events", "since": N, "follow": true} gives one event
a line, those that are kept first, until either side closes the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fttcp.report.events import Event, History

_MAX_REQUEST = 65536
_MAX_BEHIND = 10_000

Request = dict[str, Any]
Reply = dict[str, Any]


class RequestError(Exception):
    """A request cannot be served; all of this goes to the asker."""

    def __init__(self, sentence: str, reason: str = "bad-request", **details: Any) -> None:
        """``reason``: one word for programs, see docs/commands.md; ``details``: what else they are told."""
        super().__init__(sentence)
        self.reason, self.details = reason, details


def number(request: Request, key: str, default: int, most: int) -> int:
    """Return an integer of a request. Raises RequestError."""
    value = request.get(key, default)
    if type(value) is not int or not 0 <= value <= most:
        raise RequestError(f"{key}: {value!r:.80} is not an integer from 0 to {most}")
    return value


class ControlServer:
    """Listens at the control socket and hands requests on."""

    def __init__(self, serve: Callable[[Request], Awaitable[Reply]], history: History) -> None:
        """``serve`` returns the reply to a request, or raises RequestError."""
        self._operate, self._history = serve, history
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._followers: set[asyncio.Queue[Event | None]] = set()

    async def start(self, path: Path) -> None:
        """Listen at ``path``, for root only. A socket file that is left there is replaced."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path, limit=_MAX_REQUEST)
        path.chmod(0o600)
        self._path = path

    async def restore(self) -> bool:
        """Listen anew, if somebody has removed the socket file; say whether it was so."""
        path, old = self._path, self._server
        if old is None or path is None or path.exists():
            return False
        old.close()  # those who are connected stay
        await self.start(path)
        return True

    async def close(self) -> None:
        """Stop listening, end the streams of events, and remove the socket file."""
        if self._server is not None and self._path is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
            self._server = None
        for follower in self._followers:
            _put(follower, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                await self._reply(line, reader, writer)
        except (ConnectionError, ValueError) as error:
            self._history.add("control-error", "warning", why=str(error))
        finally:
            writer.close()

    async def _reply(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = await self.answer(line)
        follow = reply.pop("follow", False)
        if not follow:
            writer.write(await asyncio.to_thread(_answered, reply))
            await writer.drain()
            return
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        for event in reply["events"]:
            events.put_nowait(event)
        listener = lambda event: _put(events, event)  # noqa: E731
        self._history.listen(listener)
        self._followers.add(events)
        gone = asyncio.ensure_future(reader.read(1))
        gone.add_done_callback(lambda _: _put(events, None))
        try:
            while (event := await events.get()) is not None:
                await _send(writer, event)
        except ConnectionError:
            return  # whoever follows has had enough
        finally:
            gone.cancel()
            self._followers.discard(events)
            self._history.ignore(listener)

    async def answer(self, line: bytes) -> Reply:
        """Return the reply to a request line."""
        try:
            return await self._operate(_decoded(line))
        except RequestError as error:
            return {"error": str(error), "reason": error.reason, **error.details}


def _decoded(line: bytes) -> Request:
    """Return the request in a line. Raises RequestError."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the request is not JSON: {error}") from error
    if not isinstance(request, dict):
        raise RequestError(f"a request is a JSON object, not {request!r:.80}")
    return request


def _put(events: asyncio.Queue[Event | None], event: Event | None) -> None:
    """Queue an event for a follower; one that is hopelessly behind is cut off."""
    if events.qsize() >= _MAX_BEHIND:
        while not events.empty():
            events.get_nowait()
        event = None
    events.put_nowait(event)


def _answered(reply: Reply) -> bytes:
    """Encode a reply. The loop goes on meanwhile: what it changes in that moment cannot be told."""
    try:
        return _encoded(reply)
    except RuntimeError as error:
        return _encoded({"error": f"the answer changed while it was written: {error}", "reason": "internal"})


def _encoded(reply: Reply) -> bytes:
    """For a thread, entry by entry: while the encoder is at work no other thread is, and there may be a
    hundred thousand connections."""
    parts = [f"{json.dumps(key)}: {_text(value)}" for key, value in reply.items()]
    return ("{" + ", ".join(parts) + "}\n").encode()


def _text(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join([json.dumps(entry, default=str) for entry in value]) + "]"
    return json.dumps(value, default=str)


async def _send(writer: asyncio.StreamWriter, event: Event) -> None:
    writer.write(json.dumps(event, default=str).encode() + b"\n")
    await writer.drain()
