"""A very small HTTP server for load balancers and Prometheus: one answer for each connection.

It shares the daemon's loop, so that what it says is true now, and it is bounded in every way: number of
connections, length of a request, time for a request and for its answer. A general server bounds neither
the time until a request is complete nor the number of clients that have not sent one yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

_MOST_CLIENTS = 64
_MOST_REQUEST = 8192
_PATIENCE_S = 5.0
_METHODS = ("GET", "HEAD", "OPTIONS")
"""OPTIONS because that is what haproxy's httpchk asks with by default."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is sent for a path."""

    status: HTTPStatus
    body: bytes
    kind: str = "application/json"


Pages = Callable[[str], Awaitable[Page]]
"""Path, without a query -> page."""


class HttpServer:
    """Listens at one address, or at none."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._place: tuple[str, int] | None = None
        self._clients = 0

    async def change(self, place: tuple[str, int] | None) -> None:
        """Listen at (address, port) from now on; None: nowhere. Raises OSError; then nothing changed."""
        if place == self._place:
            return
        server = None
        if place is not None:
            server = await asyncio.start_server(self._serve, *place, limit=_MOST_REQUEST, reuse_address=True)
        if self._server is not None:
            self._server.close()
        self._server, self._place = server, place

    async def close(self) -> None:
        """Stop listening."""
        await self.change(None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._clients >= _MOST_CLIENTS:
            writer.transport.abort()
            return
        self._clients += 1
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answer = await self._answer(reader)
            writer.transport.set_write_buffer_limits(0)
            writer.write(answer)
            async with asyncio.timeout(_PATIENCE_S):
                await writer.drain()
            writer.close()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()
        finally:
            self._clients -= 1

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(Page(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, b""), True)
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(Page(HTTPStatus.BAD_REQUEST, b""), True)
        method, target, _ = words
        if method not in _METHODS:
            return _response(Page(HTTPStatus.METHOD_NOT_ALLOWED, b""), True)
        return _response(await self._pages(target.partition("?")[0]), method == "GET")


def _response(page: Page, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *([f"Allow: {', '.join(_METHODS)}"] if page.status is HTTPStatus.METHOD_NOT_ALLOWED else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (page.body if with_body else b"")
