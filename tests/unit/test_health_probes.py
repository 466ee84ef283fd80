"""Probes of real servers on the loopback interface, and what their answers cost."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from fttcp.ownership.model import Cause
from fttcp.server import probes
from fttcp.server.launch import carriers
from fttcp.server.probes import Prober, probe_name
from fttcp.server.settings import HealthSection, HooksSection, ProbeSection, RestartSection
from fttcp.server.verdict import State, Verdict
from tests.health import free_port, looked_after, until

Asked = tuple[Prober, list[tuple[bool, Cause, str]]]


def ask(probe: ProbeSection, port: int, until_state: State) -> dict[str, Any]:
    """Ask until the check is in this state; return it as ``status`` shows it."""

    async def body() -> dict[str, Any]:
        verdict = Verdict(lambda *_: None, lambda *_, **__: None, lambda: None)
        prober = Prober(probe, "127.0.0.1", port, verdict)
        prober.begin()
        await until(lambda: prober.check.state is until_state and bool(prober.check.last))
        await prober.close()
        return prober.check.shown()

    return asyncio.run(body())


def probe(kind: Any, **settings: Any) -> ProbeSection:
    return ProbeSection(type=kind, **{"interval_ms": 20, "timeout_ms": 500, **settings})


@pytest.fixture
def web() -> Any:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code = {"/": 200, "/old": 302, "/bad": 503}[self.path]
            body = f"host {self.headers['Host']}: all is well".encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_tcp_connects_and_hears(web: int) -> None:
    assert ask(probe("tcp"), web, State.OK)["reason"] == "accepts connections"
    asked = probe("tcp", request="GET / HTTP/1.0\r\n\r\n", expect="^HTTP/1.0 200")
    assert "answered 'HTTP/1.0 200 OK" in ask(asked, web, State.OK)["reason"]
    wrong = ask(probe("tcp", request="GET /bad HTTP/1.0\r\n\r\n", expect="^HTTP/1.0 200"), web, State.WAITING)
    assert "which does not match '^HTTP/1.0 200'" in wrong["last"]["said"]
    assert "Connection refused" in ask(probe("tcp"), free_port(), State.WAITING)["last"]["said"]


def test_http_looks_at_status_and_body(web: int) -> None:
    assert ask(probe("http"), web, State.OK)["reason"] == "GET /: status 200"
    assert ask(probe("http", path="/old"), web, State.OK)["reason"] == "GET /old: status 302"
    assert ask(probe("http", expect="all is well", host="shop"), web, State.OK)["state"] == "ok"
    assert ask(probe("http", path="/bad", status=[503]), web, State.OK)["state"] == "ok"
    said = ask(probe("http", path="/bad"), web, State.WAITING)["last"]["said"]
    assert said == "GET /bad: status 503 Service Unavailable"
    assert "which does not match" in ask(probe("http", expect="not well"), web, State.WAITING)["last"]["said"]
    assert "GET /: " in ask(probe("http"), free_port(), State.WAITING)["last"]["said"]


def test_a_silent_server_is_given_up_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for asked in (probe("http", timeout_ms=50), probe("tcp", expect="x", timeout_ms=50)):
            assert ask(asked, port, State.WAITING)["last"]["said"] == "no answer within 50 ms"


def test_udp_wants_the_right_answer() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, sender = server.recvfrom(100)
                if data == b"end":
                    return
                server.sendto(data[::-1], sender)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        good = ask(probe("udp", request="\x00\xffab", expect="^ba\xff"), port, State.OK)
        assert good["state"] == "ok"
        assert (
            "does not match"
            in ask(probe("udp", request="a", expect="b"), port, State.WAITING)["last"]["said"]
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"end", ("127.0.0.1", port))
        thread.join()
    asked = probe("udp", request="a", expect="a", timeout_ms=50)
    assert ask(asked, free_port(socket.SOCK_DGRAM), State.WAITING)["last"]["said"] == "Connection refused"


def test_exec_is_judged_by_its_status_and_ends_with_all_its_children(tmp_path: Path) -> None:
    environment = "sh -c 'test $FTTCP_PROBE_ADDRESS:$FTTCP_PROBE_PORT = 127.0.0.1:80'"
    assert ask(probe("exec", command=environment), 80, State.OK)["state"] == "ok"
    assert ask(probe("exec", command="sh -c 'exit 3'", exit_status=3), 80, State.OK)["state"] == "ok"
    said = ask(probe("exec", command="sh -c 'echo the disk is full; exit 1'"), 80, State.WAITING)["last"][
        "said"
    ]
    assert said == "ended with status 1: the disk is full"
    number = tmp_path / "number"
    slow = f"sh -c 'echo $FTTCP_LAUNCH >{number}; setsid sleep 1000 & sleep 1001'"
    said = ask(probe("exec", command=slow, timeout_ms=100), 80, State.WAITING)["last"]["said"]
    assert said == "took too long and was killed"
    assert carriers(number.read_text().strip()) == []
    said = ask(probe("exec", command="no-such-program"), 80, State.WAITING)["last"]["said"]
    assert "no such program in PATH" in said


def test_never_two_questions_at_once(tmp_path: Path) -> None:
    busy = tmp_path / "busy"
    command = f"sh -c 'mkdir {busy} || exit 9; sleep 0.05; rmdir {busy}'"

    async def body() -> None:
        verdict = Verdict(lambda *_: None, lambda *_, **__: None, lambda: None)
        prober = Prober(probe("exec", command=command, interval_ms=10), "127.0.0.1", 80, verdict)
        answers: list[bool] = []
        take = prober._take
        prober._take = lambda good, said, took: (answers.append(good), take(good, said, took))  # type: ignore
        prober.begin()
        await until(lambda: len(answers) >= 5)
        await prober.close()
        assert all(answers)

    asyncio.run(body())


SERVER = "sleep 1000"


@pytest.mark.parametrize(
    ("action", "check"),
    [
        ("failover", lambda server, pid: not server.healthy and server.pid == pid),
        ("restart", lambda server, pid: server.healthy and server.pid != pid),
        ("warn", lambda server, pid: server.healthy and bool(server.told("health-warning"))),
    ],
)
def test_a_failing_probe_costs_what_its_action_says(
    tmp_path: Path, action: Any, check: Callable[[Any, int], bool]
) -> None:
    flag = tmp_path / "flag"

    async def body() -> None:
        # the flag holds the pid for which the answer is bad: a new server answers well again
        command = f'sh -c \'test ! -e {flag} || test "$(cat {flag})" != "$(pgrep -f -n "sleep 100[7]")"\''
        settings = HealthSection(
            probe=[probe("exec", command=command, fall=2, rise=2, action=action, name="ask")]
        )
        async with looked_after(tmp_path, "sleep 1007", health=settings) as server:
            await until(lambda: server.healthy and server.check("ask")["state"] == "ok")
            pid = server.pid
            flag.write_text(f"{pid}\n")
            await until(lambda: check(server, pid))
            if action != "warn":
                assert any(
                    why is Cause.PROBE_FAILED and "ask: ended with status 1" in reason
                    for healthy, why, reason in server.changes
                    if not healthy
                )
            flag.unlink()
            await until(lambda: server.healthy and server.check("ask")["state"] == "ok")

    asyncio.run(body())


def test_a_server_is_not_healthy_before_its_first_good_answer(tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    async def body() -> None:
        settings = HealthSection(
            probe=[probe("exec", command=f"test -e {flag}", name="ready", action="restart")]
        )
        async with looked_after(tmp_path, SERVER, health=settings) as server:
            await until(lambda: "ready: no good answer yet" in server.state["reason"])
            assert not server.changes and server.state["restarts"] == 0
            flag.touch()
            await until(lambda: server.healthy)

    asyncio.run(body())


FIRST = HealthSection(probe=[probe("exec", command="true", name="one"), probe("exec", command="true")])
CHANGED = {
    "nothing": FIRST,
    "another key": structs.replace(FIRST, memory_percent=80),
    "times": structs.replace(FIRST, stall_after_ms=6000, backlog_after_ms=3000),
    "a probe's key": structs.replace(FIRST, probe=[structs.replace(FIRST.probe[0], fall=5), FIRST.probe[1]]),
    "every probe": structs.replace(
        FIRST, probe=[structs.replace(one, interval_ms=50) for one in FIRST.probe]
    ),
    "a probe more": structs.replace(FIRST, probe=[*FIRST.probe, probe("exec", command="test 1", name="two")]),
    "a probe less": structs.replace(FIRST, probe=FIRST.probe[1:]),
    "their order": structs.replace(FIRST, probe=FIRST.probe[::-1]),
    "a name": structs.replace(FIRST, probe=[structs.replace(FIRST.probe[0], name="uno"), FIRST.probe[1]]),
    "an action": structs.replace(FIRST, probe=[structs.replace(FIRST.probe[0], action="restart")]),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_reload_never_makes_a_healthy_server_unhealthy(tmp_path: Path, change: str) -> None:
    async def body() -> None:
        async with looked_after(tmp_path, SERVER, health=FIRST) as server:
            await until(lambda: server.healthy)
            assert server.health is not None
            server.health.configure(CHANGED[change], RestartSection(delay_ms=7), HooksSection(), 300)
            assert server.healthy
            names = [check["name"] for check in server.state["checks"] if check["kind"] == "exec"]
            assert sorted(names) == sorted(probe_name(one, 0) for one in CHANGED[change].probe)
            await until(lambda: all(server.check(name)["last"] for name in names))
            assert [healthy for healthy, _, _ in server.changes] == [True]

    asyncio.run(body())


def test_a_reload_makes_no_server_that_is_short_of_something_one_that_does_not_serve(tmp_path: Path) -> None:
    async def body() -> None:
        async with looked_after(tmp_path, SERVER, health=FIRST) as server:
            await until(lambda: server.healthy)
            assert server.health is not None
            verdict = server.health._verdict
            verdict.healthy, verdict.serves = False, True
            server.health.configure(CHANGED["an action"], RestartSection(delay_ms=7), HooksSection(), 300)
            names = [probe_name(one, 0) for one in CHANGED["an action"].probe]
            assert all(server.check(name)["state"] != "waiting" for name in names)

    asyncio.run(body())


def test_a_reload_keeps_what_a_probe_knows(tmp_path: Path) -> None:
    """One that is failing goes on to fail, and an unhealthy server is not believed anew."""
    flag = tmp_path / "flag"
    asked = probe("exec", command=f"test ! -e {flag}", name="ask", fall=3, rise=3, interval_ms=20)

    async def body() -> None:
        async with looked_after(tmp_path, SERVER, health=HealthSection(probe=[asked])) as server:
            await until(lambda: server.healthy)
            assert server.health is not None
            flag.touch()
            await until(lambda: not server.healthy)
            before = server.check("ask")
            other = HealthSection(probe=[asked], memory_percent=80)
            server.health.configure(other, RestartSection(), HooksSection(), 200)
            after = server.check("ask")
            assert (after["state"], after["since"]) == ("failed", before["since"])
            assert after["last"]["asked"] >= before["last"]["asked"]
            flag.unlink()
            await until(lambda: server.healthy)
            assert [healthy for healthy, _, _ in server.changes] == [True, False, True]

    asyncio.run(body())


def test_a_reload_does_not_ask_anew_whether_the_server_may_follow(tmp_path: Path) -> None:
    count = tmp_path / "count"
    hooks = HooksSection(ready_to_follow=f"sh -c 'echo >> {count}'")

    async def body() -> None:
        async with looked_after(tmp_path, SERVER, hooks=hooks) as server:
            await until(lambda: server.healthy and server.state["follow"]["ready"])
            assert server.health is not None
            server.health.configure(HealthSection(), RestartSection(), hooks, 200)
            assert server.state["follow"]["ready"]
            other = HooksSection(ready_to_follow="sh -c 'sleep 0.1; exit 1'")
            server.health.configure(HealthSection(), RestartSection(), other, 200)
            assert server.state["follow"]["ready"]  # until the other one says no
            await until(lambda: not server.state["follow"]["ready"])
            assert count.read_text() == "\n"

    asyncio.run(body())


def test_a_question_that_goes_wrong_in_an_unknown_way_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def strange(probe: ProbeSection, address: str, port: int) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise ValueError("what nobody thought of")
        return "well"

    monkeypatch.setitem(probes._KINDS, "tcp", strange)
    assert ask(probe("tcp"), 1, State.OK)["last"]["bad"] == 1


FIRST_QUESTION = """
import asyncio, sys, threading
from fttcp.server.probes import Prober
from fttcp.server.settings import ProbeSection
from fttcp.server.verdict import Verdict

loaded = []

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "aiohttp":
            loaded.append(threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Finder())

async def main():
    verdict = Verdict(lambda *_: None, lambda *_, **__: None, lambda: None)
    prober = Prober(ProbeSection(type="http", interval_ms=20), "127.0.0.1", 1, verdict)
    prober.begin()
    while not prober.check.last:
        await asyncio.sleep(0.01)
    await prober.close()

asyncio.run(main())
print(loaded)
"""


def test_what_asks_by_http_is_loaded_beside_the_loop() -> None:
    """It takes a quarter of a second: a lost node would be noticed late, and this one taken for halted."""
    done = subprocess.run([sys.executable, "-c", FIRST_QUESTION], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[False]\n", done.stderr
