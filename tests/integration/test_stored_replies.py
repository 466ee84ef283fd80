"""Requests by UDP that are executed once and answered as often as they come, on real kernels."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.network import SERVICE4, SERVICE6
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named, who_serves
from tests.integration.stations import events
from tests.integration.test_simple_takeover import until

pytestmark = needs_root

PORT = 5300
PROGRAM = Path(__file__).with_name("udp_counter.py")
ENDS = f"{PORT} {SERVICE4} {SERVICE6}"
SERVER = f"""#!/bin/sh
# start, stop or status of the server
cd {{home}}
listens() {{{{ ss -Hlun 'sport = :{PORT}' | grep -q .; }}}}
case $1 in
start)
	listens && exit 0
	{sys.executable} {PROGRAM} serve executed {ENDS} > log.$FTTCP_NODE 2>&1 &
	echo $! > pid.$FTTCP_NODE
	until listens; do sleep 0.02; done ;;
stop)
	listens || exit 0
	kill -9 $(cat pid.$FTTCP_NODE)
	while listens; do sleep 0.02; done ;;
status) listens ;;
esac
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("stored")
    (home / "server").write_text(SERVER.format(home=home))
    (home / "server").chmod(0o755)
    (home / "executed").touch()
    return home


@pytest.fixture(scope="module")
def pair(home: Path) -> Iterator[Pair]:
    acts = ", ".join(f'{act} = "{home}/server {act}"' for act in ("start", "stop", "status"))
    stored = f'{{ports = ["{PORT}/udp"], id_offset = 0, id_bytes = 8, keep_s = 600}}'
    resource = f'resource=[{{name = "counter", interval_s = 1, {acts}}}]'
    fast = ("timing.heartbeat_ms=10", "restart.start_within_s=5")
    yield from pair_named("stored", ("mode=address", resource, f"stored_replies={stored}", *fast))


def stored(pair: Pair, node: str) -> dict[str, Any]:
    return dict(pair.group(node)["stored"])


def in_step(pair: Pair) -> str:
    """Who serves, when its backup has all."""
    pair.lab.wait("synced")
    until(
        lambda: all(stored(pair, node)["in_step"] for node in who_serves(pair.lab)) and who_serves(pair.lab)
    )
    (serving,) = who_serves(pair.lab)
    return serving


def executed(home: Path) -> Counter[str]:
    return Counter((home / "executed").read_text().split())


def executes(home: Path) -> None:
    """Wait for fifty more."""
    before = executed(home).total()
    until(lambda: executed(home).total() > before + 50)


def _moves(pair: Pair, serving: str) -> None:
    until(lambda: who_serves(pair.lab) not in ([], [serving]))


def test_none_is_executed_twice_whoever_dies(pair: Pair, home: Path) -> None:
    pair.ready()
    in_step(pair)
    stop, told = home / "stop", []
    asked = [sys.executable, str(PROGRAM), "ask", str(stop), *ENDS.split()]
    client = threading.Thread(target=lambda: told.append(pair.lab.exec("client", asked).stdout))
    client.start()
    try:
        for fault in ("crash-host", "kill-node"):
            executes(home)
            serving = in_step(pair)
            make_fault(pair.lab, fault, serving)
            _moves(pair, serving)
            make_fault(pair.lab, "restart-host", serving)
        serving = in_step(pair)
        assert pair.order(serving, "switchover", "lab")["status"] == 0
        _moves(pair, serving)
        executes(home)
    finally:
        stop.touch()
        client.join()
    seen = json.loads(told[0])
    done = executed(home)
    assert done.most_common(1)[0][1] == 1
    assert not seen["differing"] and set(seen["answered"]) <= set(done)
    assert len(seen["unanswered"]) <= 3  # one for each act, of which nobody knows what came of it
    assert seen["again"] >= 2 * len(seen["answered"]) - 3 > 200
    (serving,) = who_serves(pair.lab)
    assert pair.group(serving)["counters"]["stored_said"] > len(seen["answered"]) / 2
    assert [event["what"] for event in events(pair.lab, serving, "stored")].count("in-step") >= 1
