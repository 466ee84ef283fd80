"""A node under a real systemd, with the units that `make install` writes, and nginx as a unit of its own,
kept in step by the drop-in that the documentation shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import await_condition
from tests.integration.lockstep_servers import certificates
from tests.integration.netns import needs_root
from tests.integration.test_operating import FTTCP

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
NEEDED = ("/lib/systemd/systemd", "/lib/systemd/system/nginx.service", "/usr/bin/python3")
PROGRAM = """#!/bin/sh
PYTHONPATH=/usr/local/fttcp:/usr/local/fttcp/site exec /usr/bin/python3 -c \\
    "from fttcp.cli.main import main; main(prog_name='fttcp')" "$@"
"""
NODE = """
[node]
name = "alpha"
cluster = "test"
key_file = "/etc/fttcp/key"
service_interface = "svc0"
peer_interface = "peer0"
[peer]
name = "beta"
[[link]]
interface = "peer0"
local = "10.78.0.1"
remote = "10.78.0.2"
[[group]]
name = "web"
addresses = ["10.77.0.100"]
ports = ["443/tcp"]
unit = "nginx.service"
lockstep = "connection"
"""
NGINX = """
user www-data; worker_processes 1; pid /run/nginx.pid; error_log stderr;
events { worker_connections 64; }
http { access_log off; server {
    listen 443 ssl; ssl_certificate /etc/fttcp-test/rsa.pem; ssl_certificate_key /etc/fttcp-test/rsa.key;
    location / { return 200 "hello\\n"; }
} }
"""
TALK = """
import socket, ssl, sys
context = ssl._create_unverified_context()
with context.wrap_socket(socket.create_connection(("10.77.0.100", 443), 20)) as talk:
    for _ in sys.stdin:
        talk.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        got = b""
        while not got.endswith(b"hello\\n"):
            part = talk.recv(4096)
            assert part, got
            got += part
        print("hello", flush=True)
"""

pytestmark = [
    needs_root,
    pytest.mark.skipif(
        not all(Path(path).exists() for path in NEEDED),
        reason="needs systemd, Debian's Python and nginx",
    ),
]


class Booted:
    """A host that systemd runs."""

    def __init__(self, given: Path) -> None:
        self._given = given
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        trees = [Path(where) for _, where, kind, *_ in mounts if kind == "cgroup2"]
        if not trees or not os.access(trees[0], os.W_OK):
            pytest.skip("no tree of process groups, version 2")
        self._group = trees[0] / f"fttcp-test-{os.getpid()}"

    def boot(self) -> None:
        """Until its basic services run."""
        self._group.mkdir()
        (self._given / "group").write_text(self._group.name)
        with (HERE / "booted_host.sh").open() as script:
            self._process = subprocess.Popen(
                [HERE / "scratch_root.sh", self._given],
                stdin=script,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        await_condition(self._first, 30, "systemd")

    def _first(self) -> bool:
        """Is there a first process that answers?"""
        if self._process.poll() is not None:
            assert self._process.stdout is not None
            said = self._process.stdout.read()
            if self._process.returncode == 77:
                pytest.skip(f"no overlay over / here: {said}")
            raise AssertionError(f"it does not boot: {said}")
        own = self._group / "init.scope/cgroup.procs"
        pids = own.read_text().split() if own.exists() else []
        if not pids:
            return False
        self._init = int(pids[0])
        return self.run("systemctl", "is-active", "basic.target").returncode == 0

    def command(self, *words: str) -> list[str]:
        """What runs a program there."""
        clean = ["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        return ["nsenter", "--target", str(self._init), "--all", "--wdns=/", *clean, *words]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60)

    def systemctl(self, *words: str) -> str:
        """What systemctl says; it must not fail."""
        done = self.run("systemctl", *words)
        logs = self.run("systemctl", "status", "--no-pager", "--lines=30", "fttcp", "nginx")
        assert done.returncode == 0, done.stdout + done.stderr + logs.stdout
        return done.stdout.strip()

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit)

    def group(self) -> dict[str, Any]:
        """The group's status; {} while the daemon does not answer."""
        done = self.run("fttcp", "status", "--json")
        return dict(json.loads(done.stdout)["groups"][0]) if done.returncode == 0 else {}

    def until_it_serves(self) -> dict[str, Any]:
        """The group's status then."""
        await_condition(lambda: self.group().get("role") == "primary", 30, "the node to serve")
        return self.group()

    def talk(self) -> subprocess.Popen[str]:
        """A client that asks once for each line that it is given."""
        words = self.command("ip", "netns", "exec", "client", "/usr/bin/python3", "-c", TALK)
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end(self) -> None:
        """Nothing of it is left."""
        (self._group / "cgroup.kill").write_text("1")
        self._process.kill()
        self._process.communicate()
        await_condition(lambda: "populated 0" in (self._group / "cgroup.events").read_text(), 20, "its end")
        for directory, _, _ in os.walk(self._group, topdown=False):
            Path(directory).rmdir()


def documented_drop_in() -> str:
    """Of docs/lockstep.md, with the names filled in."""
    text = (ROOT / "docs/lockstep.md").read_text()
    (shown,) = re.findall(r"`systemctl edit nginx`:\n\n```ini\n(.*?)```", text, re.DOTALL)
    return str(shown).replace("LIBRARY", "/usr/local/fttcp/fttcp/libfttcp-shim.so").replace("GROUP", "web")


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """A file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """fttcp is installed in /usr/local, where its user can read it."""
    given = tmp_path_factory.mktemp("host")
    local, etc = given / "local", given / "etc"
    words = [sys.executable, str(ROOT / "packaging/extras.py"), str(local), "--fttcp", "/usr/local/bin/fttcp"]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    write(local / "bin/fttcp", PROGRAM, 0o755)
    shutil.copytree(ROOT / "fttcp", local / "fttcp/fttcp", ignore=shutil.ignore_patterns("__pycache__"))
    (given / "site").write_text(sysconfig.get_path("platlib"))
    write(etc / "fttcp/node.toml", NODE)
    subprocess.run([FTTCP, "keygen", str(etc / "fttcp/key")], check=True, capture_output=True)
    write(etc / "nginx/nginx.conf", NGINX)
    (etc / "fttcp-test").mkdir()
    certificates(etc / "fttcp-test")
    write(etc / "systemd/system/nginx.service.d/override.conf", documented_drop_in())
    write(etc / "systemd/system/fttcp.service.d/override.conf", "[Service]\nEnvironment=FTTCP_DRAIN=30s\n")
    booted = Booted(given)
    try:
        booted.boot()
        yield booted
    finally:
        booted.end()


def test_a_unit_that_loads_the_library_is_kept_in_step(host: Booted) -> None:
    """By the drop-in as it is documented: in all processes of nginx, whose connections have identities."""
    host.systemctl("start", "fttcp", "nginx")
    assert host.until_it_serves()["lockstep"]["outside"] == []
    with host.talk() as client:
        assert client.communicate("ask\n", timeout=30)[0] == "hello\n"
    told = host.group()["lockstep"]
    pids = host.run("cat", "/sys/fs/cgroup/system.slice/nginx.service/cgroup.procs").stdout.split()
    assert told["hidden"] == sorted(map(int, pids)) and len(pids) >= 2  # root's, and we are not
    assert (told["inside"], told["outside"], told["drawn"]["unknown"]) == ([], [], 0)
    assert told["drawn"]["accepted"] == 1 and told["drawn"]["of_connections"] > 0


def test_a_daemon_that_is_killed_starts_again(host: Booted) -> None:
    """By the unit, after it has put back what it changed; and a reload reaches it."""
    host.systemctl("start", "fttcp", "nginx")
    host.until_it_serves()
    pid = host.shown("fttcp", "MainPID")
    host.systemctl("kill", "--kill-whom=main", "--signal=KILL", "fttcp")
    await_condition(lambda: host.shown("fttcp", "MainPID") not in ("0", pid), 30, "it to start again")
    host.until_it_serves()
    assert host.shown("fttcp", "NRestarts") == "1"
    assert host.shown("fttcp", "ActiveState") == "active"
    host.systemctl("reload", "fttcp")
    told = json.loads(host.run("fttcp", "events", "--json").stdout)["events"]
    assert "reloaded" in [event["event"] for event in told], told


def test_a_stop_waits_for_what_it_would_reset(host: Booted) -> None:
    """ExecStop, for FTTCP_DRAIN; and nothing of it is left behind."""
    host.systemctl("start", "fttcp", "nginx")
    host.until_it_serves()
    with host.talk() as client:
        assert client.stdin and client.stdout
        client.stdin.write("ask\n")
        client.stdin.flush()
        assert client.stdout.readline() == "hello\n"
        stop = subprocess.Popen(host.command("systemctl", "stop", "fttcp"), text=True, stderr=subprocess.PIPE)
        await_condition(lambda: host.shown("fttcp", "ActiveState") == "deactivating", 20, "the stop to begin")
        client.stdin.write("ask\n")
        client.stdin.flush()
        assert client.stdout.readline() == "hello\n"
        assert stop.poll() is None
        client.stdin.close()
        assert client.wait(20) == 0
    assert stop.communicate(timeout=25)[1] == "" and stop.returncode == 0
    assert host.shown("fttcp", "Result") == "success"
    assert "10.77.0.100" not in host.run("ip", "address").stdout
    assert "fttcp" not in host.run("nft", "list", "ruleset").stdout
