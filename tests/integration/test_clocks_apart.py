"""The clocks of both hosts are far apart. No connection sees it, whichever host it comes from or goes to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import experiment
from lab.faults import make_fault
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.workloads.registry import ROOT
from tests.integration import wallclock
from tests.integration.lockstep_servers import HTTPS, SERVICE, certificates

APART_S = {"alpha": 0, "beta": 100}
OFFSET = Path("/srv/wallclock")
"""Of each host, its own file; it is there again when a host has been restarted."""
BEHIND_S, BEFORE_S = 2.1, 1.1
"""How far a connection's clock may be behind and before that of the host that it came to."""
_NGINX = """
daemon off; worker_processes 1; error_log stderr; pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    server {{
        listen {port} ssl;
        ssl_certificate {home}/rsa.pem; ssl_certificate_key {home}/rsa.key;
        keepalive_requests 100000; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_timeout 10m;
        location = /clock {{ add_header X-Clock $msec; expires 1h; return 200 "hello\\n"; }}
    }}
}}
"""


class Asker:
    """A client whose connections stay open, and what they have seen."""

    def __init__(self, lab: Lab) -> None:
        argv = [sys.executable, str(ROOT / "tests/integration/clock_client.py"), SERVICE, str(HTTPS)]
        self._process = lab.popen("client", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ahead_s = 0
        self._first: list[float] = []
        self._last: list[float] = []

    def _say(self, word: str) -> Any:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client has ended (status {self._process.wait()})"
        return json.loads(line)

    def anew(self, node: str) -> None:
        """New connections, which come to this node."""
        count = self._say("anew")
        self._ahead_s = APART_S[node]
        self._first = self._last = [0.0] * count

    def ask(self) -> bool:
        """Ask on each: time never goes back for it, and is that of the host that it came to. True: it has
        gone on since `goes_on`."""
        said = self._say("ask")
        for one, last in zip(said, self._last, strict=True):
            began, ended = (one[key] + self._ahead_s for key in ("began", "ended"))
            assert began - BEHIND_S < one["Clock"] < ended + BEFORE_S, said
            assert one["Date"] == one["Clock"] // 1 and one["Expires"] == one["Date"] + 3600
            assert last <= one["Clock"]
        self._last = [one["Clock"] for one in said]
        return all(now - first > 0.5 for now, first in zip(self._last, self._first, strict=True))

    def goes_on(self) -> None:
        """Time goes on for all of them."""
        self.ask()
        self._first = self._last
        await_condition(self.ask, 20, "the clocks of the connections to go on", interval_s=0.1)

    def resume(self) -> list[bool]:
        """Take up the sessions of the last ones."""
        return list(self._say("resume"))

    def close(self) -> None:
        """It ends, and nothing has gone wrong."""
        _, _ = self._process.communicate(timeout=20)
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The clocks of beta, its daemon and its server are 100 seconds before."""
    home = Path(tempfile.mkdtemp(prefix="fttcp-clocks-", dir="/tmp"))  # one for all hosts of a lab
    home.chmod(0o755)
    lab = Lab(f"test-clocks-{os.getpid()}")

    def prepare(host: Host) -> None:
        wallclock.put_off(host.home / OFFSET.relative_to("/"), APART_S[host.name])

    try:
        certificates(home)
        (home / "nginx.conf").write_text(_NGINX.format(home=home, port=HTTPS))
        own = wallclock.environment(wallclock.library(home), OFFSET)
        serve = f"{HTTPS}/tcp=nginx -c {home}/nginx.conf -p ."
        with pytest.MonkeyPatch.context() as patch:  # for hosts that are restarted, too
            for name, value in own.items():
                patch.setenv(name, value)
            lab.up([serve], ("lockstep=connection",), prepare=prepare)
            yield lab
    finally:
        lab.down()
        shutil.rmtree(home)


def groups(lab: Lab) -> list[dict[str, Any]]:
    """The group's status on both nodes."""
    return [dict(lab.ask(node, {"op": "status"}, timeout_s=5.0)["groups"][0]) for node in lab.nodes()]


@pytest.mark.parametrize("fault", ["switchover", "crash-host"])
def test_a_client_sees_nothing_of_clocks_that_are_apart(lab: Lab, fault: str) -> None:
    """To the host whose clock is before, and to the one whose clock is behind: time never goes back for a
    connection, nor leaps, and sessions are taken up again. Both copies have said the same all the time."""
    client = Asker(lab)
    assert client.resume() == [False, False]
    for _ in APART_S:
        primary = lab.node_in_role("primary")
        client.anew(primary)
        client.goes_on()
        assert client.resume() == [True, True]
        assert [told["divergences"] for told in groups(lab)] == [0, 0]
        await_condition(lambda: groups(lab)[0]["flows"]["protected"] == 2, 30, "no others")
        make_fault(lab, fault)
        client.goes_on()
        assert lab.node_in_role("primary") != primary
        assert client.resume() == [True, True]
        experiment.mend(lab)
    client.close()


def test_the_nodes_tell_it(lab: Lab) -> None:
    """Each measures the other's clock by heartbeats."""

    def told() -> dict[str, dict[str, Any]]:
        replies = {node: lab.ask(node, {"op": "status"}, timeout_s=5.0) for node in lab.nodes()}
        return {node: reply["clocks"] for node, reply in replies.items()}

    await_condition(lambda: all(told().values()), 30, "both compare clocks")
    for node, found in told().items():
        (one,) = found.values()
        ahead_s = sum(APART_S.values()) - 2 * APART_S[node]
        assert abs(one["ahead_ms"] - 1000 * ahead_s) <= one["error_ms"] + 1 and one["apart"], found
        said = lab.exec(node, [fttcp_program(), "status"], text=True, stdout=subprocess.PIPE).stdout
        assert "CLOCK APART" in said
        kinds = [event["event"] for event in lab.ask(node, {"op": "events"}, timeout_s=5.0)["events"]]
        assert "clocks-apart" in kinds
