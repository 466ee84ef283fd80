"""Questions asked of the local server again and again: tcp, http, udp, exec.

They go over the loopback interface and nowhere else: each socket is bound to it (SO_BINDTODEVICE). So a
probe reaches the server of this node, also on the backup, where the service address is local too; the rules
of the data plane (network/rules.py) take packets from the service and the peer interface only, and let
pass what leaves on `lo`. If the service address is gone from this host, the probe fails; without the
binding it would ask the other node.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import socket
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from ipaddress import ip_address
from typing import Any

from fttcp.ownership.model import Cause
from fttcp.server.launch import LaunchError, run
from fttcp.server.settings import ProbeSection
from fttcp.server.verdict import Check, State, Thresholds, Verdict

LOOPBACK = "lo"
_ANSWER_MOST = 65536
_FIRST_S = 0.1

Ask = Callable[[ProbeSection, str, int], Awaitable[str]]


class Failure(Exception):
    """The server's answer is wrong, or there is none; the sentence says how."""


def probe_name(probe: ProbeSection, port: int) -> str:
    """Its name for people: as configured, else `http-80` or the program."""
    if probe.name is not None:
        return probe.name
    if probe.type == "exec":
        return f"exec-{shlex.split(probe.command or '-')[0].rpartition('/')[2]}"
    return f"{probe.type}-{port}"


class Prober:
    """One probe: asks while the server listens, one question at a time."""

    def __init__(self, probe: ProbeSection, address: str, port: int, verdict: Verdict) -> None:
        """``address`` and ``port``: of the server, unless the probe names its own."""
        self.probe, self._verdict = probe, verdict
        self._address, self._port = probe.address or address, probe.port or port
        name = probe_name(probe, self._port)
        self.check = verdict.add(Check(name, probe.type, probe.action, Cause.PROBE_FAILED))
        self._thresholds = Thresholds(probe.rise, probe.fall)
        self._asked = self._bad = 0
        self._task: asyncio.Task[None] | None = None

    def begin(self, trusted: bool = False) -> None:
        """The server listens: ask anew; the first good answer counts at once. ``trusted``: the server is
        known to be healthy, so it takes ``fall`` bad answers to change that."""
        self.end()
        self._thresholds = Thresholds(self.probe.rise, self.probe.fall)
        if trusted:
            self._thresholds.up = True
            self._verdict.say(self.check, State.OK, "not asked yet")
        self._task = asyncio.get_running_loop().create_task(self._ask_again_and_again())

    def end(self) -> None:
        """The server is gone: ask no more."""
        self.cancel()
        self._verdict.say(self.check, State.WAITING, "not asked: the server does not run")

    def cancel(self) -> None:
        """Ask no more, and say nothing about it."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def close(self) -> None:
        """End for good."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask_again_and_again(self) -> None:
        interval_s = self.probe.interval_ms / 1000
        loop = asyncio.get_running_loop()
        if self.probe.type == "http":
            await asyncio.to_thread(import_module, "aiohttp")  # takes longer than a lost node is waited for
        while True:
            begun_s = loop.time()
            await self._ask_once()
            wait_s = interval_s if self._thresholds.up is not None else min(interval_s, _FIRST_S)
            await asyncio.sleep(max(0.0, begun_s + wait_s - loop.time()))

    async def _ask_once(self) -> None:
        timeout_s = self.probe.timeout_ms / 1000
        begun = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s + (1.0 if self.probe.type == "exec" else 0.0)):
                said = await _KINDS[self.probe.type](self.probe, self._address, self._port)
            good = True
        except TimeoutError:
            good, said = False, f"no answer within {self.probe.timeout_ms} ms"
        except Failure as failure:
            good, said = False, str(failure)
        except OSError as error:
            good, said = False, os.strerror(error.errno) if error.errno else str(error)
        except Exception as error:  # whatever a server answers, it is asked again
            good, said = False, f"{type(error).__name__}: {error}"
        self._take(good, said, (time.monotonic() - begun) * 1000)

    def _take(self, good: bool, said: str, took_ms: float) -> None:
        thresholds = self._thresholds
        up = thresholds.take(good)
        self._asked += 1
        self._bad += not good
        last = {
            "good": good,
            "said": said,
            "took_ms": round(took_ms, 3),
            "asked": self._asked,
            "bad": self._bad,
        }
        if up is None:
            state, reason = State.WAITING, f"no good answer yet: {said}"
        elif up:
            state = State.OK if good else State.FAILING
            reason = said if good else f"{said} ({thresholds.streak} of {thresholds.fall} in a row)"
        else:
            state = State.FAILED
            reason = (
                said if not good else f"answers again ({thresholds.streak} of {thresholds.rise} in a row)"
            )
        self._verdict.say(self.check, state, reason, **last)


# ------------------------------------------------------------------ kinds of questions


def _loopback_socket(address: str, kind: socket.SocketKind) -> socket.socket:
    """A socket that sends and receives on the loopback interface only."""
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    made = socket.socket(family, kind)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, LOOPBACK.encode())
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")


def _expect(probe: ProbeSection, answer: bytes) -> str:
    """Return what to show of an answer. Raises Failure if it is not as expected."""
    shown = repr(answer[:60].decode("latin-1"))
    if probe.expect is not None and re.search(_bytes(probe.expect), answer, re.DOTALL) is None:
        raise Failure(f"answered {shown}, which does not match {probe.expect!r}")
    return f"answered {shown}"


async def _ask_tcp(probe: ProbeSection, address: str, port: int) -> str:
    """Connect; say and hear something, if that is wanted."""
    loop = asyncio.get_running_loop()
    with _loopback_socket(address, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, (address, port))
        if probe.request is not None:
            await loop.sock_sendall(sock, _bytes(probe.request))
        if probe.expect is None:
            return "accepts connections"
        answer = b""
        while re.search(_bytes(probe.expect), answer, re.DOTALL) is None and len(answer) < _ANSWER_MOST:
            data = await loop.sock_recv(sock, 4096)
            if not data:
                break
            answer += data
        return _expect(probe, answer)


async def _ask_udp(probe: ProbeSection, address: str, port: int) -> str:
    """Send a datagram and wait for one that is as expected."""
    loop = asyncio.get_running_loop()
    with _loopback_socket(address, socket.SOCK_DGRAM) as sock:
        await loop.sock_connect(sock, (address, port))
        await loop.sock_sendall(sock, _bytes(probe.request or ""))
        return _expect(probe, await loop.sock_recv(sock, _ANSWER_MOST))


async def _ask_exec(probe: ProbeSection, address: str, port: int) -> str:
    """Run a program; it is told the address and port."""
    env = {"FTTCP_PROBE_ADDRESS": address, "FTTCP_PROBE_PORT": str(port)}
    try:
        finished = await run(shlex.split(probe.command or ""), probe.timeout_ms / 1000, env)
    except LaunchError as error:
        raise Failure(str(error)) from error
    if finished.status != probe.exit_status:
        raise Failure(finished.shown())
    return finished.shown()


async def _ask_http(probe: ProbeSection, address: str, port: int) -> str:
    """GET a path; look at the status, and at the body if that is wanted."""
    import aiohttp  # needed here only, and loaded by now

    def loopback(info: Any) -> socket.socket:
        return _loopback_socket(address, socket.SOCK_STREAM)

    host = f"[{address}]" if ":" in address else address
    url = f"{'https' if probe.tls else 'http'}://{host}:{port}{probe.path}"
    headers = {"Host": probe.host} if probe.host is not None else {}
    connector = aiohttp.TCPConnector(socket_factory=loopback, ssl=False, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, headers=headers, allow_redirects=False) as response,
        ):
            allowed = probe.status or range(200, 400)
            if response.status not in allowed:
                raise Failure(f"GET {probe.path}: status {response.status} {response.reason}")
            body = b""
            while probe.expect is not None and len(body) < _ANSWER_MOST:
                data = await response.content.read(4096)
                if not data:
                    break
                body += data
            _expect(probe, body)
            return f"GET {probe.path}: status {response.status}"
    except aiohttp.ClientError as error:
        raise Failure(f"GET {probe.path}: {error or type(error).__name__}") from error


_KINDS: dict[str, Ask] = {"tcp": _ask_tcp, "http": _ask_http, "udp": _ask_udp, "exec": _ask_exec}
