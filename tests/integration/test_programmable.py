"""The programmable engine on real kernels: alone, with a C engine on the other node, and with experiments."""

from __future__ import annotations

import hashlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.experiment import Case
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import NODES, SERVICE4
from tests.integration.by_hand import by_hand, content
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named

ROOT = Path(__file__).parents[2]
RATE = 4_000_000  # bytes/s: Python sees every packet
PROGRAMMABLE = 'engine="programmable"'
PAIRS = {
    "both": (PROGRAMMABLE,),
    "primary": (f"alpha.{PROGRAMMABLE}",),
    "backup": (f"beta.{PROGRAMMABLE}",),
    "shifted": (PROGRAMMABLE, "experiment.service_iss=4294960000", "experiment.service_ts=4294967000"),
}
WORKLOADS = ("both", "bulk-down", "bulk-up", "echo")


@pytest.fixture(scope="module", params=PAIRS)
def mixed(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A pair of which both nodes, or one, run the programmable engine."""
    yield from pair_named(f"prog-{request.param}", PAIRS[request.param], WORKLOADS)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("workload", ["both", "bulk-down", "bulk-up"])
def test_a_transfer_survives_the_crash_of_its_host(
    mixed: Pair, workload: str, family: int, tmp_path: Path
) -> None:
    case = Case(workload, "crash-host", family, moment_s=0.8, duration_s=2.0, rate=RATE)
    outcome = mixed.ready().run(case, tmp_path)
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("fault", ["kill-server", "switchover", "freeze-node", "crash-backup", "loss-both"])
def test_other_faults(mixed: Pair, fault: str, tmp_path: Path) -> None:
    case = Case("both", fault, moment_s=0.8, duration_s=2.0, rate=RATE // 2)
    outcome = mixed.ready().run(case, tmp_path)
    assert outcome.ok, outcome.why


@pytest.fixture(scope="module")
def in_step() -> Iterator[Pair]:
    """A pair whose servers are kept in lock step."""
    yield from pair_named("prog-step", (PROGRAMMABLE, "lockstep=connection"), ("tls13-down", "ssh-echo"))


@pytest.mark.parametrize("workload", ["tls13-down", "ssh-echo"])
def test_servers_in_lock_step(in_step: Pair, workload: str, tmp_path: Path) -> None:
    case = Case(workload, "crash-host", moment_s=0.8, duration_s=2.0, rate=RATE // 2)
    outcome = in_step.ready().run(case, tmp_path)
    assert outcome.ok, outcome.why


# ---- experiments, on a pair whose daemons are started by hand


def download(lab: Lab, *options: str) -> subprocess.Popen[bytes]:
    """Start a download in the client."""
    argv = ["curl", "-sS", "-m", "40", *options, f"http://{SERVICE4}/f"]
    return lab.popen("client", argv, stdout=subprocess.PIPE)


def counters(lab: Lab, node: str) -> dict[str, int]:
    """Return the counters of a node's group."""
    (group,) = (entry["groups"][0] for entry in lab.status()["nodes"] if entry["node"] == node)
    return dict(group["counters"])


def both(*options: str) -> dict[str, tuple[str, ...]]:
    """Return the same options for both nodes."""
    return dict.fromkeys(NODES, options)


def test_an_experiment_that_drops_every_50th_packet() -> None:
    """The connection bears it, also over a crash; each node has lost what it should.

    Output that a callback drops is not seen by the engine, so it cannot be compared.
    """
    callback = both("--callback", "tests.integration.callbacks:drop_every_50th")
    with by_hand("drop", callback, ("unverified=continue",)) as lab:
        curl = download(lab, "--limit-rate", "2M")
        seen: dict[str, dict[str, int]] = {}

        def busy() -> bool:
            seen.update((node, counters(lab, node)) for node in NODES)
            return all(count["callback_calls"] > 50 for count in seen.values())

        await_condition(busy, 30, f"lab {lab.name}: waiting for packets at the callbacks")
        make_fault(lab, "crash-host", "alpha")
        got, _ = curl.communicate()
        assert hashlib.sha256(got).digest() == hashlib.sha256(content()).digest()
        for node in NODES:
            assert seen[node]["callback_dropped"] == seen[node]["callback_calls"] // 50


def test_an_experiment_that_delays() -> None:
    """Two turns (handshake, request) cost at least two delays."""
    with by_hand("delay", both("--callback", "tests.integration.callbacks:slow_replies")) as lab:
        before = time.monotonic()
        got, _ = download(lab).communicate()
        assert time.monotonic() - before > 0.04
        assert got == content()
        assert counters(lab, "alpha")["callback_delayed"] > 2


def test_an_experiment_that_modifies() -> None:
    """Both servers' replies are changed alike, so they do not diverge, and the change outlives a crash."""
    with by_hand("modify", both("--callback", "tests.integration.callbacks:secret")) as lab:
        for node in NODES:
            (lab.home / node / "root" / "word").write_text("the secret word")
        url = f"http://{SERVICE4}/word"
        assert lab.exec("client", ["curl", "-sS", "-m", "10", url]).stdout == "the public word"
        assert counters(lab, "alpha")["callback_modified"] >= 1
        assert counters(lab, "alpha")["divergences"] == 0
        make_fault(lab, "crash-host", "alpha")
        assert lab.exec("client", ["curl", "-sS", "-m", "10", url]).stdout == "the public word"


def test_a_one_sided_modification_is_a_divergence() -> None:
    """What only the primary's server says is noticed."""
    options = both() | {"alpha": ("--callback", "tests.integration.callbacks:secret")}
    with by_hand("diverge", options) as lab:
        for node in NODES:
            (lab.home / node / "root" / "word").write_text("the secret word")
        lab.exec("client", ["curl", "-sS", "-m", "10", f"http://{SERVICE4}/word"])
        await_condition(
            lambda: counters(lab, "alpha")["divergences"] >= 1,
            30,
            f"lab {lab.name}: waiting for a divergence",
        )


def test_a_broken_experiment_harms_nobody() -> None:
    """Its exceptions are counted and logged, the packets go on."""
    with by_hand("broken", both("--callback", "tests.integration.callbacks:broken")) as lab:
        got, _ = download(lab).communicate()
        assert got == content()
        seen = counters(lab, "alpha")
        assert seen["callback_errors"] == seen["callback_calls"] > 5
        assert "this experiment does not work" in lab.log("alpha").read_text()


def echo(lab: Lab) -> subprocess.Popen[str]:
    """Start a client whose lines come back."""
    words = ["socat", "-", f"TCP:{SERVICE4}:7,nodelay"]
    return lab.popen("client", words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)


def test_the_mirror_loses_packets_and_commits_are_late() -> None:
    """lose_mirrored and late_commits: no line is lost, also over a crash, and each costs 20 ms."""
    callbacks = {
        "alpha": ("--callback", "lab.experiments.late_commits:late_commits"),
        "beta": ("--callback", "lab.experiments.lose_mirrored:lose_mirrored"),
    }
    with by_hand("late", callbacks) as lab, echo(lab) as client:
        assert client.stdin and client.stdout
        try:
            before, count = time.monotonic(), 40
            for number in range(count):
                print(number, file=client.stdin)
                assert client.stdout.readline() == f"{number}\n"
            assert time.monotonic() - before >= count * 0.02
            primary, backup = counters(lab, "alpha"), counters(lab, "beta")
            assert primary["callback_delayed"] >= count and primary["nudges"] >= 1
            assert backup["callback_dropped"] >= count // 10
            make_fault(lab, "crash-host", "alpha")
            print("after", file=client.stdin)
            assert client.stdout.readline() == "after\n"
        finally:
            client.kill()


def comm(pid: int) -> str:
    """The name of a process, "" of one that has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def test_an_answer_waits_for_the_other_server() -> None:
    """stricter_output: asked again and again, while the backup's server stands still."""
    callbacks = both() | {"alpha": ("--callback", "lab.experiments.stricter_output:stricter_output")}
    with by_hand("strict", callbacks) as lab, echo(lab) as client:
        assert client.stdin and client.stdout
        try:
            print("first", file=client.stdin)
            assert client.stdout.readline() == "first\n"
            before = counters(lab, "alpha")["callback_delayed"]
            stopped = [pid for pid in lab.host("beta").processes() if comm(pid) == "socat"]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            print("second", file=client.stdin)
            await_condition(
                lambda: counters(lab, "alpha")["callback_delayed"] > before + 20,
                20,
                "the answer to be asked about",
            )
            assert not select.select([client.stdout], [], [], 0)[0]
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            assert client.stdout.readline() == "second\n"
            make_fault(lab, "crash-host", "alpha")
            print("third", file=client.stdin)
            assert client.stdout.readline() == "third\n"
        finally:
            client.kill()


def test_udp_sessions_are_those_of_the_c_engine() -> None:
    """A datagram and its answer pass, numbered, and the session outlives its host."""
    with by_hand("udp", both()) as lab:
        answer = lab.exec(
            "client", ["socat", "-t1", "-", f"UDP4:{SERVICE4}:1700,sourceport=40100"], input="hello"
        )
        assert answer.stdout == "hello"
        primary = lab.node_in_role("primary")
        (group,) = (node["groups"][0] for node in lab.status()["nodes"] if node["node"] == primary)
        assert group["flows"]["protected"] == group["flows"]["udp"] == 1
        make_fault(lab, "crash-host", primary)
        answer = lab.exec(
            "client", ["socat", "-t1", "-", f"UDP4:{SERVICE4}:1700,sourceport=40100"], input="again"
        )
        assert answer.stdout == "again"


@needs_root
def test_the_first_experiment_of_the_documentation() -> None:
    page = (ROOT / "docs/programmable.md").read_text()
    (block,) = re.findall(r"^```sh\n(export PYTHONPATH.*?)^```", page, re.M | re.S)
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    name = f"first-experiment-{os.getpid()}"
    try:
        done = subprocess.run(
            ["bash", "-euc", block],
            cwd=ROOT,
            env=os.environ | {"FTTCP_LAB": name, "PATH": tools},
            capture_output=True,
            text=True,
        )
    finally:
        Lab(name).down()
    assert done.returncode == 0, done.stderr
    assert "2000000 bytes in" in done.stdout
    explained = done.stdout.partition("this node's role is: solo")[2]
    assert "\n    node     " in explained, done.stdout
