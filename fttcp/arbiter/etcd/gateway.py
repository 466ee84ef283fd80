"""Calls of etcd's v3 API over HTTP and JSON (etcd.io/docs, "gRPC gateway"), on whichever member answers.

A call goes to the member that answered last; if that one is silent for a moment or fails, the next one is
asked as well, and the first good answer counts. So a call may be carried out more than once, and also
after it was given up: callers make that harmless.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Sequence
from typing import Any

import aiohttp

from fttcp.arbiter.base import ArbiterError
from fttcp.arbiter.settings import TlsFiles

Json = dict[str, Any]

_PAUSE_S = 0.05
_UNAUTHENTICATED = 16
_STALE_TOKEN = ("invalid auth token", "revision of auth store is old", "auth: revision in header is old")


class EtcdError(ArbiterError):
    """A member did not do what was asked; the sentence says why."""


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Return what https endpoints are checked with. Raises EtcdError with the file at fault."""
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except OSError as error:
        raise EtcdError(f"ca_file {files.ca}: {error.strerror or error}: must be PEM certificates") from error
    if files.cert is not None:
        try:
            context.load_cert_chain(files.cert, files.key)
        except OSError as error:
            raise EtcdError(
                f"cert_file {files.cert}, key_file {files.key}: {error.strerror or error}: must be a PEM "
                "certificate and its key"
            ) from error
    return context


class Gateway:
    """The members of one etcd cluster."""

    def __init__(
        self,
        endpoints: Sequence[str],
        hedge_s: float,
        tls: TlsFiles,
        login: tuple[str, str] | None,
    ) -> None:
        """``hedge_s``: silence after which the next member is asked too. ``login``: user and password.
        Raises EtcdError."""
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._hedge_s, self._login = hedge_s, login
        connector = aiohttp.TCPConnector(ssl=tls_context(tls), keepalive_timeout=60)
        self._http = aiohttp.ClientSession(connector=connector)
        self._token = ""
        self.trouble: dict[str, str] = {}
        """Why members did not answer the last time, by endpoint."""

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def call(self, path: str, body: Json) -> tuple[Json, bool]:
        """Return a member's answer, and whether no other was asked as well. Goes on until there is one:
        callers set the deadline; ``trouble`` then tells why there was none."""
        asked = 0
        while True:
            waiting: dict[asyncio.Task[Json], str] = {}
            try:
                for endpoint in list(self._endpoints):
                    asked += 1
                    waiting[asyncio.create_task(self._ask(endpoint, path, body))] = endpoint
                    answer = await self._first(waiting, self._hedge_s)
                    if answer is not None:
                        return answer, asked == 1
                answer = await self._first(waiting, None)
                if answer is not None:
                    return answer, asked == 1
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            await asyncio.sleep(_PAUSE_S)

    async def _first(self, waiting: dict[asyncio.Task[Json], str], patience_s: float | None) -> Json | None:
        """Return the first good answer; None when the patience is over, or nobody is left to wait for."""
        while waiting:
            done, _ = await asyncio.wait(waiting, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self.trouble |= dict.fromkeys(waiting.values(), "silent")
                return None
            for task in done:
                endpoint = waiting.pop(task)
                try:
                    answer = task.result()
                except EtcdError as error:
                    self.trouble[endpoint] = str(error)
                    continue
                self.trouble.pop(endpoint, None)
                self._endpoints.remove(endpoint)
                self._endpoints.insert(0, endpoint)
                return answer
        return None

    async def _ask(self, endpoint: str, path: str, body: Json) -> Json:
        """Ask one member; log in when that is called for. Raises EtcdError."""
        if self._login is not None and not self._token:
            await self._authenticate(endpoint)
        token = self._token
        status, answer = await self._post(endpoint, path, body)
        if status != 200 and self._login is not None and _wants_login(answer):
            if self._token == token:
                await self._authenticate(endpoint)
            status, answer = await self._post(endpoint, path, body)
        if status != 200:
            raise EtcdError(_complaint(status, answer))
        return answer

    async def _authenticate(self, endpoint: str) -> None:
        assert self._login is not None
        self._token = ""
        user, password = self._login
        status, answer = await self._post(
            endpoint, "/v3/auth/authenticate", {"name": user, "password": password}
        )
        if status != 200 or not isinstance(answer.get("token"), str):
            raise EtcdError(f"login of user {user!r} failed: {_complaint(status, answer)}")
        self._token = answer["token"]

    async def _post(self, endpoint: str, path: str, body: Json) -> tuple[int, Json]:
        """Return status and JSON object. Raises EtcdError."""
        headers = {"Authorization": self._token} if self._token else {}
        try:
            async with self._http.post(endpoint + path, json=body, headers=headers) as response:
                return response.status, _object(await response.text())
        except (aiohttp.ClientError, OSError, UnicodeDecodeError) as error:
            raise EtcdError(str(error) or type(error).__name__) from error


def _object(content: str) -> Json:
    """Return the JSON object of an answer; what else may have come (a proxy's page, say) as its message."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    return answer if isinstance(answer, dict) else {"message": content.strip()[:200] or "an empty answer"}


def _wants_login(answer: Json) -> bool:
    message = str(answer.get("message") or answer.get("error"))
    return answer.get("code") == _UNAUTHENTICATED or any(words in message for words in _STALE_TOKEN)


def _complaint(status: int, answer: Json) -> str:
    message = str(answer.get("message") or answer.get("error") or f"HTTP status {status}")
    if "user name is empty" in message:
        return f"{message}: etcd asks for a login: set user and password_file in [arbiter.etcd]"
    if "CommonName" in message:  # etcd, embed/serve.go: a gateway cannot tell whose certificate it was
        return f"{message}: with etcd's logins, its gateway wants client certificates without a CN"
    if "permission denied" in message:
        return f"{message}: the user's role needs read and write access to the prefix"
    return message
