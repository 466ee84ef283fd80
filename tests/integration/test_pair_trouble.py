"""What goes wrong without a crash: a backup that lags, outputs that differ, frames that are malformed."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.experiment import Case, Disturbance, start_client
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT
from lab.workloads.registry import ROOT
from tests.integration.pair import Pair, pair_named

DETACH_S = 10.0
TFTP = ("tftp-get-1468", "tftp-put-1468")


def test_a_lagging_backup_is_detached_and_resets_after_takeover(pair: Pair, tmp_path: Path) -> None:
    """The backup's server does not read: the upload stalls, goes on, and is reset after the crash."""
    lab, backup = pair.lab, pair.lab.node_in_role("backup")
    slow = lab.home / backup / "root" / "slow"
    slow.write_text("30")
    case = Case("bulk-up", duration_s=8.0, size=200_000_000, rate=8_000_000)
    client = start_client(lab, case, tmp_path, bound_s=DETACH_S)
    try:
        assert client.wait_started()
        await_condition(lambda: flows(pair, "primary", "detached") == 1, DETACH_S, "the flow is detached")
        received = received_bytes(lab)
        await_condition(lambda: received_bytes(lab) > received + 1_000_000, DETACH_S, "the upload goes on")
        slow.unlink()
        resets = established_resets(lab)
        make_fault(lab, "crash-host", "primary")
        report = client.finish()
    finally:
        client.kill()
        slow.unlink(missing_ok=True)
    # reader and writer share the socket's one error: the other of them sees the end of the stream
    assert report["kind"] in ("reset", "closed"), report
    assert established_resets(lab) == resets + 1
    assert lab.node_in_role("primary") == backup


def test_a_run_with_a_detached_flow_tells_and_keeps_its_evidence(pair: Pair, tmp_path: Path) -> None:
    """The client notices nothing, so the run is good; what let the flow go can still be looked into."""
    slow = pair.lab.home / pair.lab.node_in_role("backup") / "root" / "slow"
    slower = Disturbance(before=lambda lab: slow.write_text("30"), takeover=False)
    case = Case("bulk-up", "none", moment_s=0.5, duration_s=5.0, size=50_000_000, rate=8_000_000)
    try:
        outcome = pair.run(case, tmp_path, slower)
    finally:
        slow.unlink(missing_ok=True)
    assert outcome.ok, outcome.why
    assert outcome.detached in ({"commit-lag": 1}, {"output-lag": 1})
    kept = {path.name for path in Path(outcome.directory).iterdir()}
    assert {"outcome.json", "alpha.log", "beta.log", "client.pcap", "peer.pcap"} <= kept


def established_resets(lab: Lab) -> int:
    """How many connections of the client host were reset (RFC 4022, tcpEstabResets)."""
    names, values = [
        line.split()
        for line in lab.exec(CLIENT, ["cat", "/proc/net/snmp"]).stdout.splitlines()
        if line.startswith("Tcp:")
    ]
    return int(values[names.index("EstabResets")])


def flows(pair: Pair, host: str, kind: str) -> int:
    """The number of flows of this kind that a node counts."""
    counted: Any = pair.group(host)["flows"]
    return int(counted[kind])


def received_bytes(lab: Lab) -> int:
    """Bytes that the client host has sent on its link."""
    return int(lab.host(CLIENT).path("/sys/class/net/eth0/statistics/tx_bytes").read_text())


def test_outputs_that_differ_are_counted(pair: Pair, tmp_path: Path) -> None:
    """Two servers give different bytes of the same length: told, and the connection goes on."""
    for node in ("alpha", "beta"):
        (pair.lab.home / node / "root" / "local").write_text(f"{node:>9}\n")
    owner = pair.lab.node_in_role("primary")
    asked = pair.lab.exec(CLIENT, ["socat", "-t2", "-", "TCP:10.77.0.100:7000"], input="local\n\n\nend\n")
    assert asked.stdout == f"{owner:>9}\n" * 2, asked.stderr
    await_condition(
        lambda: int(str(pair.group("primary")["divergences"])) > 0, 5, "the difference is counted"
    )


def counted(pair: Pair, host: str, counter: str) -> int:
    """A counter of the engine of `host`."""
    counters = pair.group(host)["counters"]
    assert isinstance(counters, dict)
    return int(counters[counter])


def is_tftpd(pid: int) -> bool:
    """Whether this is a tftpd that has not ended."""
    try:
        return "tftpd" in Path(f"/proc/{pid}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(scope="module")
def patient() -> Iterator[Pair]:
    """A pair that takes a stopped server for a living one for long."""
    yield from pair_named("patient", ("timing.hang_after_ms=20000",), (*TFTP,))


@pytest.mark.parametrize("behind", [False, True], ids=["caught-up", "behind"])
@pytest.mark.parametrize(("workload", "family"), list(zip(TFTP, (6, 4), strict=True)))
def test_a_udp_server_of_the_backup_that_did_not_run(
    patient: Pair, workload: str, family: int, behind: bool, tmp_path: Path
) -> None:
    """It is far behind when it goes on, after the takeover or before; the primary waits for it meanwhile, and
    its socket never holds more than a few datagrams."""

    def strike(lab: Lab) -> object:
        servers = [pid for pid in lab.host("backup").processes() if is_tftpd(pid)]
        came, given = counted(patient, "primary", "in_packets"), counted(patient, "backup", "injected")
        for pid in servers:
            os.kill(pid, signal.SIGSTOP)
        try:
            await_condition(
                lambda: (
                    counted(patient, "primary", "in_packets") > came + 100
                    and counted(patient, "primary", "held_now") > 0
                    and counted(patient, "backup", "injected") > given + 1
                ),
                DETACH_S,
                "the backup's server to fall behind",
                interval_s=0.01,
            )
            if behind:
                return make_fault(lab, "crash-host", "primary")
        finally:
            for pid in servers:
                os.kill(pid, signal.SIGCONT)
        replies = counted(patient, "backup", "drop_suppressed")
        await_condition(
            lambda: counted(patient, "backup", "drop_suppressed") > replies + 500, DETACH_S, "it goes on"
        )
        return make_fault(lab, "crash-host", "primary")

    case = Case(workload, "crash-host", family, moment_s=0.5, duration_s=6.0, size=20_000_000)
    outcome = patient.ready().run(case, tmp_path, Disturbance(strike))
    assert outcome.ok, outcome.why


@pytest.mark.parametrize("family", [4, 6])
def test_malformed_frames_change_nothing(pair: Pair, family: int, tmp_path: Path) -> None:
    """Frames that a kernel would drop leave the flow, the daemons and a later takeover alone."""

    def strike(lab: Lab) -> int:
        script = Path(__file__).with_name("malformed.py")
        sent = lab.exec(
            CLIENT, [sys.executable, str(script)], cwd="/", env={"PYTHONPATH": str(ROOT)}, timeout=60
        )
        assert sent.returncode == 0, sent.stderr
        for node in ("alpha", "beta"):
            lab.node_process(node)
        lab.wait("synced", 5)
        make_fault(lab, "crash-host", "primary")
        return int(sent.stdout)

    outcome = pair.run(
        Case("echo", "crash-host", family, moment_s=0.2, duration_s=8.0), tmp_path, Disturbance(strike)
    )
    assert outcome.ok, outcome.why
    assert outcome.strike > 50


def test_a_returned_backup_protects_old_connections_and_new_ones(pair: Pair, tmp_path: Path) -> None:
    """One that is older than the backup is renewed as it runs on; a newer one is protected from the start."""
    lab = pair.lab
    make_fault(lab, "crash-host", "backup")
    old = start_client(lab, Case("request", duration_s=15.0), tmp_path, bound_s=5.0)
    try:
        assert old.wait_started()
        make_fault(lab, "restart-host")
        lab.wait("synced")
        await_condition(lambda: flows(pair, "primary", "protected") == 1, 30, "the old flow is renewed")
        (tmp_path / "new").mkdir()
        new = start_client(lab, Case("request", duration_s=2.0), tmp_path / "new", bound_s=5.0)
        try:
            assert new.wait_started()
            await_condition(lambda: flows(pair, "primary", "protected") == 2, 30, "both are protected")
            assert new.finish()["ok"]
        finally:
            new.kill()
        report = old.finish()
    finally:
        old.kill()
    assert report["ok"], report["why"]


def test_a_refused_port_stays_refused(pair: Pair) -> None:
    """A port of the service address that is not served answers as a kernel would, and holds nothing up."""
    code = "import socket,sys; s=socket.socket(); s.settimeout(3); sys.exit(s.connect_ex(('10.77.0.100', 9)))"
    asked = pair.lab.exec(CLIENT, [sys.executable, "-c", code])
    assert asked.returncode == errno.ECONNREFUSED, asked
