"""How people and programs look at a node: control socket, HTTP, systemd; with engines without packets."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fttcp.config import Config, load
from fttcp.face import frontend as told_of
from fttcp.face import http as http_module
from fttcp.face.control import ControlServer, RequestError
from fttcp.face.frontend import Frontend
from fttcp.face.health_pages import health
from fttcp.face.http import HttpServer
from fttcp.face.monitoring import Pages
from fttcp.face.systemd import Notifier
from fttcp.group import lockstep
from fttcp.report.events import Event, History
from fttcp.report.notify import HookSink
from fttcp.report.reporting import Reporting
from fttcp.wire.body import AdapterWord
from tests.groups import pair
from tests.unit.test_config import GOOD


def config_in(tmp_path: Path, extra: str = "") -> Config:
    text = GOOD.replace(
        "[peer]", f'state_dir = "{tmp_path}/state"\nrun_dir = "{tmp_path}"\n{extra}\n[peer]', 1
    )
    (tmp_path / "node.toml").write_text(text)
    return load(tmp_path / "node.toml")


class Two:
    """The adapters of a node that has two."""

    used = "svc0"

    def order(self, name: str) -> str:
        """Move."""
        if name != "svc1":
            return f"{name} has no carrier"
        self.used = name
        return ""

    def words(self) -> tuple[AdapterWord, ...]:
        """The first alone has a carrier."""
        return AdapterWord("svc0", True, True, True), AdapterWord("svc1", False, False, True)


@asynccontextmanager
async def frontend(tmp_path: Path, extra: str = "") -> AsyncIterator[tuple[Frontend, Any, Any]]:
    """alpha's face, and both groups."""

    async def refuse() -> dict[str, Any]:
        raise RequestError("no", "needs-restart", restart=["node.name"])

    async with pair() as (alpha, _, beta, _):
        config = config_in(tmp_path, extra)
        reporting = Reporting(config.node)
        face = Frontend(config, {"web": alpha}, reporting, refuse, Two())
        try:
            await face.start()
            yield face, alpha, beta
        finally:
            await face.close()
            reporting.close()


async def ask(path: Path, request: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request + b"\n")
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    return json.loads(line)


def test_the_control_socket_answers_and_refuses(tmp_path: Path) -> None:
    async def test() -> None:
        async with frontend(tmp_path):
            path = tmp_path / "control.sock"
            status = await ask(path, b'{"op": "status"}')
            assert status["groups"][0]["name"] == "web" and status["pid"] == os.getpid()
            assert {outlet["name"] for outlet in status["outlets"]} == {"log", "history"}
            assert (await ask(path, b'{"op": "connections", "limit": 5}'))["connections"] == []
            assert "web" in (await ask(path, b'{"op": "counters"}'))["counters"]
            for request, error in (
                (b"{", "not JSON"),
                (b"[]", "JSON object"),
                (b"[" * 60_000, "not JSON"),
                (b'{"op": "dance"}', "none of status"),
                (b'{"op": ["status"]}', "none of status"),
                (b'{"op": "switchover", "group": "x"}', "groups: web"),
                (b'{"op": "switchover"}', "needs a group"),
                (b'{"op": "connections", "limit": -1}', "limit"),
            ):
                assert error in (await ask(path, request))["error"]
            refused = await ask(path, b'{"op": "reload"}')
            assert refused == {"error": "no", "reason": "needs-restart", "restart": ["node.name"]}
            assert (await ask(path, b'{"op": "switchover", "group": "web"}'))["started"]
        assert not path.exists()

    asyncio.run(test())


def test_the_service_addresses_are_moved_to_another_adapter(tmp_path: Path) -> None:
    async def test() -> None:
        async with frontend(tmp_path):
            path = tmp_path / "control.sock"
            for request, error in (
                (b'{"op": "adapter"}', "needs a name"),
                (b'{"op": "adapter", "name": "eth9"}', "eth9 has no carrier"),
            ):
                refused = await ask(path, request)
                assert error in refused["error"] and refused["used"] == "svc0"
            moved = await ask(path, b'{"op": "adapter", "name": "svc1"}')
            assert (moved["adapter"], moved["before"]) == ("svc1", "svc0")
            adapters = (await ask(path, b'{"op": "status"}'))["adapters"]
            assert adapters["alpha"][1] == {
                "name": "svc1", "used": False, "carrier": False, "reference": True,
            }  # fmt: skip
            assert "beta" not in adapters, "it has one, and tells nothing"

    asyncio.run(test())


def test_topology_tells_links_and_owner(tmp_path: Path) -> None:
    async def test() -> None:
        async with frontend(tmp_path):
            told = await ask(tmp_path / "control.sock", b'{"op": "topology"}')
            assert told["peers"][0]["name"] == "beta"
            assert told["peers"][0]["links"][0]["remote"] == "10.78.0.2"
            (group,) = told["groups"]
            assert group["owner"] == "alpha" and group["addresses"] == ["10.77.0.100", "fd77::100"]

    asyncio.run(test())


def test_events_are_followed_until_the_daemon_ends(tmp_path: Path) -> None:
    async def test() -> None:
        async with frontend(tmp_path) as (face, _, _):
            face.reporting.history.add("before")
            reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
            writer.write(b'{"op": "events", "follow": true}\n')
            assert json.loads(await asyncio.wait_for(reader.readline(), 5))["event"] == "before"
            face.reporting.history.add("after")
            assert json.loads(await asyncio.wait_for(reader.readline(), 5))["event"] == "after"
            await face.close()
            assert await asyncio.wait_for(reader.readline(), 5) == b""
            writer.close()

    asyncio.run(test())


async def get(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head or method != "GET"
    return int(head.split()[1]), body


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_health_and_metrics_over_http(tmp_path: Path) -> None:
    port = free_port()

    async def test() -> None:
        async with frontend(tmp_path, f"http = {{ port = {port} }}") as (face, _, _):
            assert (await get(port, "/health/live"))[0] == 200
            assert (await get(port, "/health/nothing"))[0] == 404
            assert (await get(port, "/health/primary/x?y=1"))[0] == 404
            assert (await get(port, "/", "POST"))[0] == 405
            status, body = await get(port, "/health/live", "HEAD")
            assert status == 200 and body == b""
            _, metrics = await get(port, "/metrics")
            assert b'fttcp_role{group="web",role="primary"} 1.0' in metrics
            assert b'fttcp_beats_sent_total{group="web"} 0.0' in metrics
            assert b'fttcp_info{cluster="lab"' in metrics
            await face.change(config_in(tmp_path))
            with pytest.raises(ConnectionError):
                await get(port, "/health/live")

    asyncio.run(test())


def test_an_occupied_port_is_named_and_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            async with frontend(tmp_path) as (face, _, _):
                wanted = config_in(tmp_path, f"http = {{ port = {taken.getsockname()[1]} }}")
                with pytest.raises(OSError, match=r"node\.http: cannot listen on 127\.0\.0\.1"):
                    await face.change(wanted)

    asyncio.run(test())


def test_clients_that_say_nothing_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(http_module, "_MOST_CLIENTS", 4)

    async def test() -> None:
        port = free_port()
        server = HttpServer(Pages(lambda: {"node": "alpha", "groups": []}).page)
        await server.change(("127.0.0.1", port))
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        # the fifth and later ones are turned away, the first four after their time
        for reader, writer in reversed(silent):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(1), 5)
            writer.close()
        assert (await get(port, "/health/live"))[0] == 200
        await server.close()

    asyncio.run(test())


def group_state(**changes: Any) -> dict[str, Any]:
    return {
        "name": "web", "role": "primary", "mode": "paired", "epoch": 3, "peer": "beta", "peer_alive": True,
        "synced": True, "reference": True, "takeovers": [], "takeover_counts": {"peer-lost": 2},
        "lease_ms_left": 20.0, "nodes": [{"name": "beta", "role": "spare", "healthy": True}],
        "server": {"pid": 1, "healthy": True, "reason": "", "since": "", "checks": []},
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "primary", "ready"),
    [
        ({}, True, True),
        ({"lease_ms_left": 0.0}, False, False),
        ({"role": "backup", "lease_ms_left": 0.0}, False, True),
        ({"role": "backup", "synced": False}, False, False),
        ({"role": "backup", "not_ready": [{"hinders": "backup"}]}, False, False),
        ({"role": "backup", "not_ready": [{"hinders": "service"}]}, False, False),
        ({"not_ready": [{"hinders": "backup"}]}, True, True),
        ({"not_ready": [{"hinders": "backup"}, {"hinders": "service"}]}, True, False),
        ({"role": "fenced"}, False, False),
    ],
)
def test_what_load_balancers_are_told(changes: dict[str, Any], primary: bool, ready: bool) -> None:
    status = {"node": "alpha", "groups": [group_state(**changes), group_state(name="other")]}
    for question, good in (("primary", primary), ("ready", ready)):
        wanted = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        page = health(question, "web", status)
        assert page.status is wanted and json.loads(page.body)["groups"] == {"web": good}
        assert health(question, "", status).status is wanted
        assert health(question, "other", status).status is HTTPStatus.OK


def test_systemd_hears_of_start_reload_watchdog_and_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        assert notifier.watchdog_s == 3.0
        notifier.ready("web: primary (solo)")
        assert manager.recv(4096) == b"READY=1\nSTATUS=web: primary (solo)"
        notifier.reloading()
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.status("same")
        notifier.status("same")
        notifier.alive()
        notifier.stopping()
        assert [manager.recv(4096) for _ in range(3)] == [b"STATUS=same", b"WATCHDOG=1", b"STOPPING=1"]
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1)
    notifier.alive()  # a manager that is gone is no error
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_systemd_is_told_once_of_groups_that_change_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is worked out for it while they change: that would be in the way of a takeover of many."""
    looked: list[str] = []
    told: asyncio.Queue[str] = asyncio.Queue()

    async def test() -> None:
        async with frontend(tmp_path) as (face, alpha, _):
            monkeypatch.setattr(face._systemd, "status", told.put_nowait)
            monkeypatch.setattr(type(alpha), "status", lambda group: looked.append(group.name) or {})
            monkeypatch.setattr(told_of, "as_what", lambda machine, fenced: looked.append("web") or "as told")
            for _ in range(50):
                face.reporting.history.add("role", group="web")
            assert not looked
            assert await asyncio.wait_for(told.get(), 10) == "web: as told"
            face.reporting.history.add("paused", group="web")
            assert await asyncio.wait_for(told.get(), 10) == "web: as told" and told.empty()
            assert looked == ["web", "web"]

    asyncio.run(test())


def test_what_is_not_told_any_more_ends_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook that hangs is waited for, and nothing else meanwhile."""
    hangs, free = threading.Event(), threading.Event()

    def hang(sink: HookSink, event: Event) -> None:
        hangs.set()
        free.wait(10)

    async def test() -> None:
        told = 'notify = { command = "/bin/true", events = ["role"] }'
        async with frontend(tmp_path, told) as (face, _, _):
            monkeypatch.setattr(HookSink, "write", hang)
            face.reporting.history.add("role")
            await asyncio.to_thread(hangs.wait, 10)
            outlet = face.reporting._outlets["notify command"][1]
            asyncio.get_running_loop().call_soon(free.set)
            await face.change(config_in(tmp_path))
            assert not outlet._thread.is_alive()

    asyncio.run(test())


def test_the_processes_of_a_server_in_step_are_looked_at_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be hundreds, and all of their maps are read."""
    threads: list[int] = []

    def shown(file: Path, leaders: list[int]) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return {"file": str(file), "inside": leaders}

    monkeypatch.setattr(lockstep, "shown", shown)

    async def test() -> None:
        async with frontend(tmp_path) as (_, alpha, _):
            alpha.server = SimpleNamespace(pids=[41], reason="serving", lacks="", shown=dict)
            assert "lockstep" not in (await ask(tmp_path / "control.sock", b'{"op": "status"}'))["groups"][0]
            alpha.lockstep = tmp_path / "web.lockstep"
            (told,) = (await ask(tmp_path / "control.sock", b'{"op": "status"}'))["groups"]
            assert told["lockstep"] == {"file": str(alpha.lockstep), "inside": [41], "identities": 0}
            await ask(tmp_path / "control.sock", b'{"op": "topology"}')
        assert len(threads) == 1 and threads[0] != threading.get_ident()

    asyncio.run(test())


def test_an_operation_that_fails_is_not_taken_for_a_request_that_is_no_json(tmp_path: Path) -> None:
    async def serve(_: object) -> dict[str, Any]:
        raise ValueError("42 is no role")

    async def test() -> None:
        history = History("alpha")
        control = ControlServer(serve, history)
        await control.start(tmp_path / "control.sock")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        writer.write(b"{}\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await control.close()
        assert [event["why"] for event in history.since(0)] == ["42 is no role"]

    asyncio.run(test())
