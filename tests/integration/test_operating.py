"""Operating one daemon on a real kernel: clean-up after a kill, reload, maintenance, systemd, events."""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.hosts import Process, await_condition
from tests.integration.netns import needs_root
from tests.integration.test_node_daemon import FTTCP, Daemon, daemon, serving

pytestmark = needs_root
__all__ = ["daemon"]

SECOND_GROUP = """
[[group]]
name = "second"
addresses = ["10.77.0.101"]
ports = ["81/tcp"]
command = "{python} -m http.server --bind 10.77.0.101 81"
channel_port = 7730
queue = 7740
"""


def snapshot(daemon: Daemon) -> dict[str, list[str]]:
    """Every network setting of the daemon's namespace.

    Left out is what is nobody's setting: built-in tables without a rule, which iptables-nft leaves behind,
    and neighbours that the kernel has asked for in vain or is about to.
    """
    shown = {
        tool: [
            line
            for line in daemon.net.run(tool).splitlines()
            if line.startswith("-A") or (line.startswith(":") and line.split()[1] == "-")
        ]
        for tool in ("iptables-save", "ip6tables-save")
    }
    ruleset = daemon.net.run("nft", "list", "ruleset").splitlines()
    shown["nft"] = [line for line in ruleset if " fttcp-" in line]
    for command in (
        "ip addr",
        "ip rule",
        "ip -6 rule",
        "ip route show table all",
        "ip -6 route show table all",
        "ip neigh",
        "ip neigh show proxy",
        "ip -6 neigh show proxy",
        "sysctl -a -r ^net[.](ipv4|ipv6|core|netfilter)[.]",
    ):
        lines = daemon.net.run(*command.split()).splitlines()
        shown[command] = sorted(line for line in lines if not re.search(r"\b(FAILED|INCOMPLETE)\s*$", line))
    return shown


def test_cleanup_after_kill_leaves_no_trace_and_may_be_repeated(daemon: Daemon) -> None:
    before = snapshot(daemon)
    daemon.start()
    server = daemon.until(serving)["server"]["pid"]
    during = snapshot(daemon)
    assert daemon.process is not None
    refused = subprocess.run(
        daemon.net.command(FTTCP, "cleanup", "--config", str(daemon.config)), capture_output=True, text=True
    )
    assert refused.returncode == 1 and f"pid {daemon.process.pid}" in refused.stderr
    assert snapshot(daemon) == during and serving(daemon.group())
    daemon.end(signal.SIGKILL)
    await_condition(lambda: not Path(f"/proc/{server}").exists(), 30, "the server ends with its daemon")
    assert snapshot(daemon) != before
    words = daemon.net.command(FTTCP, "cleanup", "--config", str(daemon.config), "--json")
    removed = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["removed"]
    assert removed["rules"] == ["web"] and removed["addresses"] == ["10.77.0.100", "fd77::100"]
    assert snapshot(daemon) == before
    assert list((daemon.home / "run").iterdir()) == []
    removed = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["removed"]
    assert not any(removed.values())
    assert snapshot(daemon) == before


def test_a_restart_after_kill_cleans_up_what_its_configuration_no_longer_has(daemon: Daemon) -> None:
    before = snapshot(daemon)
    daemon.config.write_text(daemon.config.read_text() + second(daemon))
    daemon.start()
    daemon.until(serving)
    assert "10.77.0.101" in daemon.net.run("ip", "addr", "show", "lo")
    daemon.end(signal.SIGKILL)
    secrets = daemon.home / "run" / "second.lockstep"
    secrets.write_bytes(b"of a server that is kept in step")
    start_without_the_second(daemon)
    assert not secrets.exists()
    assert snapshot(daemon) == before


def start_without_the_second(daemon: Daemon) -> None:
    """It clears away what a killed one has left of the second group."""
    daemon.config.write_text(daemon.config.read_text().replace(second(daemon), ""))
    daemon.start()
    daemon.until(serving)
    assert "10.77.0.101" not in daemon.net.run("ip", "addr", "show", "lo")
    assert "second" not in daemon.net.run("nft", "list", "ruleset")
    assert daemon.end(signal.SIGTERM)[0] == 0


def second(daemon: Daemon) -> str:
    python = re.search(r'command = "(\S+)', daemon.config.read_text())
    assert python is not None
    return SECOND_GROUP.format(python=python.group(1))


def test_reload_touches_only_what_changed(daemon: Daemon) -> None:
    daemon.start()
    web = daemon.until(serving)
    good = daemon.config.read_text()
    daemon.config.write_text(good + second(daemon))
    added = daemon.tool("reload")
    assert added.returncode == 0 and "group second: added" in added.stdout, added.stderr

    def second_serves() -> bool:
        groups = json.loads(daemon.tool("status", "--json").stdout)["groups"]
        return len(groups) == 2 and serving(groups[1])

    await_condition(second_serves, 30, "the new group serves")
    now = daemon.group()
    assert (now["server"]["pid"], now["epoch"]) == (web["server"]["pid"], web["epoch"])
    secrets = daemon.home / "run" / "second.lockstep"
    secrets.write_bytes(b"of a server that is kept in step")
    daemon.config.write_text(good.replace("[peer]", 'log_level = "error"\n[peer]'))
    changed = json.loads(daemon.tool("reload", "--json").stdout)
    assert changed["removed"] == ["second"] and changed["changed"] == ['node.log_level: "info" -> "error"']
    assert "10.77.0.101" not in daemon.net.run("ip", "addr", "show", "lo")
    assert "second" not in daemon.net.run("nft", "list", "ruleset")
    assert daemon.group()["server"]["pid"] == web["server"]["pid"]


def order(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command that finds its daemon by the socket: the configuration may be wrong."""
    place = ("--socket", str(daemon.home / "run" / "control.sock"))
    return subprocess.run([FTTCP, *words, *place], capture_output=True, text=True)


def test_a_refused_reload_changes_nothing(daemon: Daemon) -> None:
    daemon.start()
    daemon.until(serving)
    during, good = snapshot(daemon), daemon.config.read_text()
    for text, reasons in (
        (good.replace('"80/tcp"', '"81/tcp"') + second(daemon), ["group.web.ports", "needs? a restart"]),
        (good.replace("hang_after_ms = 200", "hang_after_ms = 1"), ["hang_after_ms: 1 is below 20"]),
        (good + second(daemon).replace("7740", "7700"), ["queue: 7700 is too near"]),
        (
            good + second(daemon).replace("10.77.0.101", "10.78.0.1"),
            ["link.0..local: '10.78.0.1' is group"],
        ),
        (good + '[group.hooks]\non_takeover = "/no/hook"\n', ["hooks.on_takeover: there is no /no/hook"]),
    ):
        daemon.config.write_text(text)
        refused = order(daemon, "reload")
        assert refused.returncode == 1
        assert all(re.search(reason, refused.stderr) for reason in reasons), refused.stderr
        assert (
            snapshot(daemon) == during
            and len(json.loads(order(daemon, "status", "--json").stdout)["groups"]) == 1
        )
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)

    def kinds() -> list[str]:
        words = [FTTCP, "history", "--state-dir", str(daemon.home / "state"), "--json"]
        told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        return [event["event"] for event in told["events"]]

    await_condition(lambda: kinds().count("reload-refused") == 6, 30, "SIGHUP reloads")
    daemon.config.write_text(good)
    daemon.process.send_signal(signal.SIGHUP)
    await_condition(lambda: kinds()[-1] == "reloaded", 30, "SIGHUP reloads a good configuration")
    assert serving(daemon.group())


def test_a_start_refuses_what_a_reload_does_and_changes_nothing(daemon: Daemon) -> None:
    before, good = snapshot(daemon), daemon.config.read_text()
    for text, reason in (
        (
            good.replace("10.77.0.100", "127.0.0.1"),
            "addresses[0]: '127.0.0.1' is a loopback address",
        ),
        (good + '[group.hooks]\non_takeover = "/no/hook"\n', "hooks.on_takeover: there is no /no/hook"),
    ):
        daemon.config.write_text(text)
        for words in (["node", "--config"], ["check-config"]):
            command = daemon.net.command(FTTCP, *words, str(daemon.config))
            refused = subprocess.run(command, capture_output=True, text=True, timeout=30)
            assert refused.returncode == 2 and reason in refused.stderr
    assert snapshot(daemon) == before


def test_a_new_group_that_cannot_start_is_taken_back(daemon: Daemon) -> None:
    daemon.start()
    daemon.until(serving)
    during = snapshot(daemon)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(daemon.home / "no-fifo"))
        text = daemon.config.read_text() + second(daemon)
        daemon.config.write_text(
            text.replace("[peer]", f'notify = {{ fifo = "{daemon.home}/no-fifo" }}\n[peer]')
        )
        refused = order(daemon, "reload")
    assert refused.returncode == 1 and "is no FIFO" in refused.stderr
    assert snapshot(daemon) == during and serving(daemon.group())


def test_maintenance_outlives_the_daemon(daemon: Daemon) -> None:
    daemon.start()
    daemon.until(serving)
    paused = daemon.tool("pause", "web")
    assert paused.returncode == 0 and "is not heard" in paused.stdout, paused.stderr
    assert daemon.end(signal.SIGTERM)[0] == 0
    daemon.start()
    assert daemon.until(serving)["paused"]
    assert "PAUSED" in daemon.tool("status").stdout
    assert daemon.tool("resume", "--all").returncode == 0
    assert not daemon.group()["paused"]


def test_systemd_is_told_of_start_watchdog_reload_and_end(daemon: Daemon) -> None:
    address = daemon.home / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(10)
        daemon.start({"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "300000"})
        said = [manager.recv(4096).decode()]
        while not said[-1].startswith("STATUS=web: primary (solo)"):
            said.append(manager.recv(4096).decode())
        assert said[0].startswith("READY=1") and "WATCHDOG=1" in said
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        while not said[-1].startswith("RELOADING=1\nMONOTONIC_USEC="):
            said.append(manager.recv(4096).decode())
        while not said[-1].startswith("READY=1"):
            said.append(manager.recv(4096).decode())
        daemon.process.send_signal(signal.SIGTERM)
        while said[-1] != "STOPPING=1":
            said.append(manager.recv(4096).decode())
    assert daemon.end(signal.SIGTERM)[0] == 0


def test_events_are_followed_live(daemon: Daemon) -> None:
    daemon.start()
    daemon.until(serving)
    words = [FTTCP, "events", "--follow", "--json", "--config", str(daemon.config)]
    with Process(words, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["event"] == "started"
        daemon.net.run("ip", "link", "set", "svc0x", "down")
        for line in follower.stdout:
            if json.loads(line)["event"] == "carrier":
                break
        daemon.end(signal.SIGTERM)
        assert follower.wait(10) == 1


def test_hooks_and_fifo_are_told(daemon: Daemon) -> None:
    hook = daemon.home / "hook"
    hook.write_text(f'#!/bin/sh\necho "$FTTCP_EVENT $FTTCP_ROLE" >>{daemon.home}/told\n')
    hook.chmod(0o755)
    notify = f'notify = {{ command = "{hook}", fifo = "{daemon.home}/fifo" }}'
    daemon.config.write_text(daemon.config.read_text().replace("[peer]", f"{notify}\n[peer]"))
    os.mkfifo(daemon.home / "fifo")
    with os.fdopen(os.open(daemon.home / "fifo", os.O_RDONLY | os.O_NONBLOCK)) as fifo:
        daemon.start()
        daemon.until(serving)
        await_condition(lambda: "role primary" in (daemon.home / "told").read_text(), 30, "the hook ran")
        told = [json.loads(line)["event"] for line in fifo]
        assert "role" in told and "server-healthy" in told
    assert daemon.end(signal.SIGTERM)[0] == 0


def test_top_on_a_terminal(daemon: Daemon) -> None:
    daemon.start()
    daemon.until(serving)
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    words = [FTTCP, "top", "--interval", "0.1", "--config", str(daemon.config)]
    terminal = os.environ | {"TERM": "xterm"}
    top = subprocess.Popen(words, stdin=its, stdout=its, stderr=its, env=terminal)
    try:
        seen, end = b"", time.monotonic() + 20
        while seen.count(b"primary (solo)") < 2:  # it is drawn again and again
            assert select.select([ours], [], [], max(0, end - time.monotonic()))[0], seen
            seen += os.read(ours, 65536)
        top.send_signal(signal.SIGINT)
        assert top.wait(10) == 0
    finally:
        top.kill()
        top.wait()
    os.close(its)
    os.close(ours)


def program_of(user: Sequence[str]) -> list[str]:
    """fttcp as that user can run it, also as a child of a program of its own: with Debian's interpreter where
    the one of this environment lies in a closed directory. Skips the test if there is no way."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    run = "from fttcp.cli.main import main; main(prog_name='fttcp')"
    debian = ["env", f"PYTHONPATH={paths}", "/usr/bin/python3", "-c", run]
    for program in ([FTTCP], debian):
        words = [*user, "sh", "-c", '"$@"', "sh", *program, "--version"]
        trial = subprocess.run(words, capture_output=True, text=True)
        if trial.returncode == 0:
            return program
    pytest.skip(f"user 65534 cannot run fttcp: {trial.stderr.strip()}")


def test_the_capabilities_of_the_unit_are_enough() -> None:
    """Without root, with no more than packaging/systemd gives: it serves, and undoes all that it changed."""
    unit = Path(__file__).parents[2] / "packaging/systemd/fttcp.service.in"
    (given,) = re.findall(r"^AmbientCapabilities=(.*)$", unit.read_text(), re.MULTILINE)
    bounds = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in given.split())
    sets = [f"--{kind}=-all,{bounds}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", *sets, "--"]
    program = program_of(nobody)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        daemon = Daemon(home)
        daemon.program = program
        try:
            own = re.sub(r'command = "\S+', 'command = "/usr/bin/python3', daemon.config.read_text())
            daemon.config.write_text(own)
            for path in (home / "run", home / "state"):
                path.mkdir()
            for path in (home / "run", home / "state", home / "key"):
                os.chown(path, 65534, 65534)
            before = snapshot(daemon)
            for number in (signal.SIGTERM, signal.SIGKILL):
                daemon.start(prefix=nobody)
                pid = daemon.until(serving)["server"]["pid"]
                assert Path(f"/proc/{pid}").stat().st_uid == 65534
                status = Path(f"/proc/{pid}/status").read_text()
                assert "CapEff:\t0000000000000400" in status, "the server has CAP_NET_BIND_SERVICE, no more"
                daemon.end(number)
                await_condition(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 30, "the server ends")  # type: ignore[misc]
                cleanup = daemon.net.command(*nobody, *program, "cleanup", "--config", str(daemon.config))
                subprocess.run(cleanup, check=True)
                assert snapshot(daemon) == before
        finally:
            daemon.close()
