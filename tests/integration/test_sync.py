"""Directories of two hosts kept the same, by real rsync: each host has its own files in a mount namespace,
and is reached by a remote shell that enters it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

FTTCP = Path(sys.executable).with_name("fttcp")
_CONFIG = """
[node]
name = "{name}"
cluster = "sync"
key_file = "/etc/fttcp/key"
service_interface = "eth0"
peer_interface = "eth1"
run_dir = "{view}/run"
state_dir = "{view}/state"
[peer]
name = "{other}"
[[link]]
interface = "eth1"
local = "10.78.0.{own_number}"
remote = "10.78.0.{other_number}"
[[group]]
name = "web"
addresses = ["192.0.2.100"]
ports = ["80/tcp"]
command = "true"
[[sync]]
name = "www"
directory = "{view}/www"
remote_shell = "{place}/shell"
exclude = ["*.tmp", "own/here"]
{sync}
"""
_SHELL = """#!/bin/sh
# shell HOST COMMAND...: as ssh does, with the files of another host.
[ ! -e {place}/away ] || {{ echo "no route to host" >&2; exit 255; }}
case $1 in 10.78.0.1) host=alpha ;; 10.78.0.2) host=beta ;; *) exit 255 ;; esac
shift
exec unshare --mount sh -c 'mount --bind {place}/$0 {view} && exec sh -c "$1"' $host "$*"
"""


class Daemon(socketserver.ThreadingUnixStreamServer):
    """Stands for a node's daemon: says who is primary, and hears how copies went."""

    daemon_threads = True

    def __init__(self, path: Path, primary: str) -> None:
        self.primary, self.synced = primary, list[dict[str, Any]]()
        super().__init__(str(path), _Asked)


class _Asked(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request, daemon = json.loads(self.rfile.readline()), self.server
        assert isinstance(daemon, Daemon)
        if request["op"] == "synced":
            daemon.synced.append(request)
        nodes = [
            {"name": name, "role": "primary" if name == daemon.primary else "backup"}
            for name in ("alpha", "beta")
        ]
        self.wfile.write(json.dumps({"groups": [{"name": "web", "nodes": nodes}]}).encode() + b"\n")


class Pair:
    """Two hosts; the service runs on alpha, whose name is the smaller one."""

    def __init__(self, place: Path, sync: str) -> None:
        self.place, self.view = place, place / "host"
        self.view.mkdir()
        shell = place / "shell"
        shell.write_text(_SHELL.format(place=place, view=self.view))
        shell.chmod(0o755)
        for name, other, own_number in (("alpha", "beta", 1), ("beta", "alpha", 2)):
            for folder in ("www", "run", "state"):
                (place / name / folder).mkdir(parents=True)
            told = {"name": name, "other": other, "view": self.view, "place": place, "sync": sync}
            numbers = {"own_number": own_number, "other_number": 3 - own_number}
            (place / name / "node.toml").write_text(_CONFIG.format(**told, **numbers))
        self.alpha, self.beta = place / "alpha/www", place / "beta/www"
        self.log = (place / "log").open("w+")
        self.service: subprocess.Popen[bytes] | None = None

    def command(self, host: str, *words: str) -> list[str]:
        enter = f'mount --bind {self.place}/{host} {self.view} && exec "$@"'
        return [
            "unshare",
            "--mount",
            "sh",
            "-c",
            enter,
            "sh",
            str(FTTCP),
            *words,
            "--config",
            f"{self.view}/node.toml",
        ]

    def start(self) -> None:
        env = {**os.environ, "PATH": f"{FTTCP.parent}:{os.environ['PATH']}"}
        self.service = subprocess.Popen(self.command("alpha", "sync", "run"), env=env, stderr=self.log)
        wait_for((self.place / "alpha/run-sync/control.sock").exists)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.service is not None:
            self.service.send_signal(number)
            self.service.wait(20)
            self.service = None

    def now(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("alpha", "sync", "now"), capture_output=True, text=True, timeout=60
        )

    def status(self, host: str = "alpha") -> dict[str, Any]:
        shown = subprocess.check_output(self.command(host, "sync", "status", "--json"), text=True, timeout=30)
        [one] = json.loads(shown)["sync"]
        assert isinstance(one, dict)
        return one

    def processes(self) -> list[tuple[int, str]]:
        """Pids and command lines of all that works for this pair, apart from the service."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                pid = int(entry.parent.name)
                if str(self.place) in words and pid != os.getpid():
                    found.append((pid, words))
        return found

    def rsyncs(self) -> list[int]:
        return [pid for pid, words in self.processes() if words.startswith("rsync ")]


def wait_for(condition: Callable[[], object], timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


@pytest.fixture
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """``request.param``: more lines of [[sync]]."""
    hosts = Pair(tmp_path, getattr(request, "param", "every_s = 3600\non_change = false"))
    try:
        yield hosts
    finally:
        hosts.stop()
        hosts.log.seek(0)
        sys.stderr.write(hosts.log.read())


def tree(place: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in place.rglob("*"):
        about = path.lstat()
        said: tuple[object, ...] = (about.st_mode, about.st_uid, about.st_gid)
        if path.is_symlink():
            said = (str(path.readlink()),)
        elif path.is_file():
            said += (
                about.st_mtime_ns,
                path.read_bytes(),
                tuple(os.getxattr(path, x) for x in os.listxattr(path)),
            )
        found[str(path.relative_to(place))] = said
    return found


def test_both_hosts_get_what_either_has_with_times_owners_and_attributes(pair: Pair) -> None:
    (pair.alpha / "d/deep").mkdir(parents=True)
    page = pair.alpha / "d/deep/ä page\n.html"
    page.write_text("of alpha")
    os.chown(page, 1234, 4321)
    page.chmod(0o640)
    os.setxattr(page, "user.kind", b"page")
    os.utime(page, ns=(0, 1_700_000_000_123_456_789))
    (pair.beta / "of beta").write_text("of beta")
    (pair.beta / "link").symlink_to("/nowhere")
    (pair.beta / "own").mkdir()
    for name in ("x.tmp", "own/here"):
        (pair.beta / name).write_text("stays")
    os.mkfifo(pair.alpha / "fifo")
    pair.start()
    assert pair.now().returncode == 0
    assert (pair.beta / "d/deep/ä page\n.html").stat().st_mtime_ns == 1_700_000_000_123_456_789
    ours, theirs = tree(pair.alpha), tree(pair.beta)
    for name in ("x.tmp", "own/here"):
        assert name not in ours and theirs.pop(name)
    assert ours.pop("fifo") and ours == theirs
    shown, there = pair.status(), pair.status("beta")
    assert shown["error"] is None and shown["files"] == 2 and shown["age_s"] < 30 and shown["conflicts"] == 0
    assert there["driver"] == "alpha" and there["good_at"] == shown["good_at"]
    os.setxattr(pair.beta / "d/deep/ä page\n.html", "user.kind", b"other")  # nothing but an attribute
    assert pair.now().returncode == 0
    assert os.getxattr(page, "user.kind") == b"other"


def test_conflicts_keep_both_and_a_deleted_file_comes_back(pair: Pair) -> None:
    for name in ("both", "gone"):
        (pair.alpha / name).write_text("first")
    pair.start()
    with Daemon(pair.place / "alpha/run/control.sock", "alpha") as daemon:
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        assert pair.now().returncode == 0
        (pair.alpha / "both").write_text("of alpha")
        (pair.beta / "both").write_text("of beta, later")
        os.utime(pair.alpha / "both", ns=(0, 1_800_000_000_000_000_000))
        os.utime(pair.beta / "both", ns=(0, 1_800_000_001_000_000_000))
        (pair.beta / "gone").unlink()
        assert pair.now().returncode == 0
        assert pair.now().returncode == 0  # what is kept is copied as any file
        daemon.shutdown()
    kept = "both.conflict-alpha-20270115T080000Z"
    for place in (pair.alpha, pair.beta):
        assert (place / "both").read_text() == "of beta, later"
        assert (place / kept).read_text() == "of alpha" and (place / "gone").read_text() == "first"
    assert tree(pair.alpha) == tree(pair.beta)
    assert pair.status()["conflicts"] == 1
    assert [told["report"]["conflicts"] for told in daemon.synced][-2:] == [1, 1]


@pytest.mark.parametrize(
    "pair", ['every_s = 3600\non_change = false\ndelete = "primary-of web"'], indirect=True
)
def test_what_the_primary_deletes_is_deleted_but_not_a_disk_that_is_not_mounted(pair: Pair) -> None:
    (pair.alpha / "d").mkdir()
    for name in ("d/a", "b", "c"):
        (pair.alpha / name).write_text(name)
    pair.start()
    assert pair.now().returncode == 0
    shutil.rmtree(pair.beta / "d")
    done = pair.now()
    assert done.returncode == 1 and "no daemon says who is primary of web" in done.stderr
    assert (pair.alpha / "d/a").exists()
    assert not (pair.beta / "d").exists()
    with Daemon(pair.place / "alpha/run/control.sock", "beta") as daemon:
        threading.Thread(target=daemon.serve_forever, daemon=True).start()
        (pair.alpha / "b").unlink()
        (pair.alpha / "new").write_text("new")
        assert pair.now().returncode == 0
        assert tree(pair.alpha).keys() == tree(pair.beta).keys() == {"b", "c", "new"}
        assert pair.status()["removed"] == 2
        for path in pair.beta.iterdir():
            path.unlink()
        done = pair.now()
        daemon.shutdown()
    assert done.returncode == 1 and "www is empty on beta only" in done.stderr
    assert tree(pair.alpha).keys() == {"b", "c", "new"}


@pytest.mark.parametrize("pair", ["every_s = 5\non_change = false\nbandwidth_kbyte_s = 1500"], indirect=True)
def test_a_copy_that_is_killed_leaves_nothing_and_the_next_one_finishes(pair: Pair) -> None:
    big = pair.alpha / "big"
    big.write_bytes(os.urandom(3 << 20))
    coming = pair.beta / ".fttcp-temp-alpha"
    pair.start()
    wait_for(lambda: any(path.stat().st_size for path in coming.glob("big*")))
    os.kill(pair.rsyncs()[-1], signal.SIGKILL)
    wait_for(lambda: pair.status()["error"])
    assert "rsync from" in pair.status()["error"] and not (pair.beta / "big").exists()
    wait_for(lambda: pair.status()["error"] is None)  # it tries again by itself
    assert tree(pair.alpha) == tree(pair.beta) and list(pair.beta.iterdir()) == [pair.beta / "big"]
    big.write_bytes(os.urandom(3 << 20))
    wait_for(lambda: any(path.stat().st_size for path in coming.glob("big*")))
    pair.stop(signal.SIGKILL)
    wait_for(lambda: not pair.processes())  # no rsync, no agent outlives the service


@pytest.mark.parametrize("pair", ["every_s = 3600\non_change = true"], indirect=True)
def test_changes_on_either_host_are_copied_at_once_also_after_the_peer_was_away(pair: Pair) -> None:
    away = pair.place / "away"
    away.touch()
    pair.start()
    wait_for(lambda: pair.status()["error"])
    assert "no route to host" in pair.status()["error"] and pair.status()["good_at"] is None
    away.unlink()
    wait_for(lambda: pair.status()["error"] is None)
    wait_for(lambda: sum(words.startswith("inotifywait ") for _, words in pair.processes()) == 2)
    (pair.beta / "d").mkdir()
    (pair.beta / "d/from beta").write_text("1")
    wait_for((pair.alpha / "d/from beta").exists)
    (pair.alpha / "from alpha").write_text("2")
    wait_for((pair.beta / "from alpha").exists)
    pair.stop()
    wait_for(lambda: not pair.processes())
