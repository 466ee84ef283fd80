"""Address and resources move, connections do not (`mode = "address"`), on real kernels with a real agent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest

from lab.faults import make_fault
from lab.network import SERVICE4, SERVICE6
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named, who_serves
from tests.integration.stations import events

pytestmark = needs_root

WEB = """#!/bin/sh
# start, stop or status of a web server that tells the node's name
cd {home}/$FTTCP_NODE
listens() {{ ss -Hltn 'sport = :80' | grep -q .; }}
case $1 in
start)
	test ! -e ../broken.$FTTCP_NODE || {{ echo broken; exit 1; }}
	nginx -p . -c nginx.conf -e error.log ;;
stop)
	kill $(cat pid)
	while listens; do sleep 0.02; done ;;
status) listens ;;
esac
"""
NGINX = """
user root;
pid pid;
master_process off;
events {{}}
http {{
	access_log off;
	server {{ listen 80; listen [::]:80; return 200 {node}; }}
}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("resources")
    (home / "web").write_text(WEB.format(home=home))
    (home / "web").chmod(0o755)
    for node in ("alpha", "beta"):
        (home / node).mkdir()
        (home / node / "nginx.conf").write_text(NGINX.format(node=node))
    return home


@pytest.fixture(scope="module")
def pair(home: Path) -> Iterator[Pair]:
    web = {"name": "web", "interval_s": 1} | {act: f"{home}/web {act}" for act in ("start", "stop", "status")}
    settings = [
        f"{node}.resource=[{_inline(_dummy(home, node))}, {_inline(web)}]" for node in ("alpha", "beta")
    ]
    hook = f"hooks.wait_for=sh -c 'test ! -e {home}/hangs.$FTTCP_NODE || sleep 1000'"
    fast = ("timing.heartbeat_ms=10", "hooks.timeout_ms=3000", "restart.start_within_s=2")
    yield from pair_named("addr", ("mode=address", *settings, hook, *fast))


def _dummy(home: Path, node: str) -> dict[str, object]:
    state = f"{home}/{node}.dummy"
    return {"name": "dummy", "agent": "ocf:heartbeat:Dummy", "parameters": {"state": state}}


def _inline(table: object) -> str:
    """As TOML has it in one line."""
    if isinstance(table, dict):
        return "{" + ", ".join(f"{key} = {_inline(value)}" for key, value in table.items()) + "}"
    return json.dumps(table)


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _ask(pair: Pair, address: str = SERVICE4) -> str:
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    return pair.lab.exec("client", ["curl", "-s", "--max-time", "1", url]).stdout.strip()


@contextmanager
def _asking(pair: Pair) -> Iterator[list[str]]:
    """Ask all the time meanwhile; the answers, one for each new connection."""
    answers: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            answers.append(_ask(pair))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield answers
    finally:
        ended.set()
        asker.join()


def _told(pair: Pair, node: str, kind: str) -> list[dict[str, object]]:
    return events(pair.lab, node, kind)


def _run(pair: Pair, home: Path) -> set[str]:
    """On which node which resource runs."""
    found = {f"{path.stem} dummy" for path in home.glob("*.dummy")}
    listens = ["ss", "-Hltn", "sport = :80"]
    return found | {f"{node} web" for node in ("alpha", "beta") if pair.lab.exec(node, listens).stdout}


def _both(node: str) -> set[str]:
    return {f"{node} dummy", f"{node} web"}


def _roles(pair: Pair) -> tuple[str, str]:
    """Who serves, and the other one."""
    (serving,) = who_serves(pair.lab)
    return serving, "beta" if serving == "alpha" else "alpha"


def test_the_other_node_serves_after_a_crash_and_after_a_switchover(pair: Pair, home: Path) -> None:
    pair.ready()
    first, other = _roles(pair)
    assert _ask(pair) == _ask(pair, SERVICE6) == first
    assert _run(pair, home) == _both(first)
    with _asking(pair) as answers:
        make_fault(pair.lab, "crash-host", first)
        until(lambda: other in answers)
    assert [name for name, _ in groupby(filter(None, answers))] in ([other], [first, other])
    assert _ask(pair, SERVICE6) == other
    make_fault(pair.lab, "restart-host", first)
    pair.lab.wait("synced")
    until(lambda: _run(pair, home) == _both(other))  # what the crash had left is ended
    with _asking(pair) as answers:
        assert pair.order(other, "switchover", "lab")["status"] == 0
        until(lambda: first in answers)
    assert [name for name, _ in groupby(filter(None, answers))] in ([first], [other, first])
    assert who_serves(pair.lab) == [first] and _run(pair, home) == _both(first)
    stopped, started = _told(pair, other, "resource-stopped"), _told(pair, first, "resource-started")
    assert [event["resource"] for event in stopped[-2:]] == ["web", "dummy"]
    assert [event["resource"] for event in started[-2:]] == ["dummy", "web"]
    assert str(stopped[-1]["time"]) < str(started[-2]["time"])


def test_a_server_that_dies_has_the_other_node_serve(pair: Pair, home: Path) -> None:
    pair.ready()
    serving, other = _roles(pair)
    pid = (home / serving / "pid").read_text().strip()
    pair.lab.exec(serving, ["kill", "-KILL", pid])
    until(lambda: _ask(pair) == other)
    until(lambda: _run(pair, home) == _both(other))


@pytest.mark.parametrize("obstacle", ["broken", "hangs"])
def test_a_node_that_cannot_start_them_leaves_them_to_the_other(
    pair: Pair, home: Path, obstacle: str
) -> None:
    """Its server does not start, or the hook before it hangs."""
    pair.ready()
    serving, other = _roles(pair)
    mark = home / f"{obstacle}.{other}"
    mark.touch()
    try:
        before = len(_told(pair, other, "promotion-failed"))
        pair.order(serving, "switchover", "lab")
        until(lambda: len(_told(pair, other, "promotion-failed")) > before)
        until(lambda: _ask(pair) == serving)
        until(lambda: _run(pair, home) == _both(serving))
        assert who_serves(pair.lab) == [serving]
    finally:
        mark.unlink()
    pair.lab.wait("synced")
