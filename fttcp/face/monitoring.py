"""The pages of a node's HTTP server, for load balancers and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus

from fttcp.face.health_pages import health
from fttcp.face.http import Page
from fttcp.face.metrics import metrics_text
from fttcp.group.shown import Status

METRICS_KIND = "text/plain; version=0.0.4; charset=utf-8"


class Pages:
    """The pages of the HTTP server."""

    def __init__(self, status: Callable[[], Status]) -> None:
        """``status`` is called in the loop, for each request."""
        self._status = status

    async def page(self, path: str) -> Page:
        """Return the page of a path."""
        if path == "/metrics":
            # The engine is asked here, in the loop; text is made of it elsewhere.
            return Page(HTTPStatus.OK, await asyncio.to_thread(metrics_text, self._status()), METRICS_KIND)
        root, _, rest = path.lstrip("/").partition("/")
        question, _, name = rest.partition("/")
        return health(question if root == "health" else "", name, self._status())
