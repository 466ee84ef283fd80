"""What the doctor makes of what it sees."""

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fttcp.cli import doctor as doctor_module
from fttcp.cli.checks import (
    CAP_SYS_NICE,
    Interface,
    Machine,
    Site,
    Status,
    Trial,
    check_arbiter,
    check_kernel,
    check_machine,
    check_site,
    kernel_version,
)

MACHINE = Machine(
    release="6.1.0-18-amd64",
    version="#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)",
    capabilities=(1 << 41) - 1,
    memlock=8 << 20,
    clock_source="tsc",
    bridge_calls_iptables=False,
    trials={name: Trial(name, "") for name in ("NFQUEUE (xt, IPv4)", "TEE (IPv6)", "queue (nft)")},
)
SERVICE4 = ip_address("10.77.0.100")
SITE = Site(
    service_interface="svc0",
    standby_interfaces=(),
    peer_interface="peer0",
    links=(("peer0", ip_address("10.78.0.1")),),
    multicast=frozenset({"svc0"}),
    ethernet=frozenset({"peer0"}),
    serial={"/dev/ttyS0": ""},
    service_addresses=frozenset({SERVICE4}),
    default_interfaces=frozenset({"svc0"}),
    interfaces={
        "lo": Interface(65536, True, False, 0, frozenset({SERVICE4})),
        "svc0": Interface(1500, True, True, 0, frozenset({ip_address("10.77.0.1")})),
        "peer0": Interface(1500, True, True, 1, frozenset({ip_address("10.78.0.1")})),
    },
    arbiter={"kind": "none", "reachable": None, "residual_risk": "both may serve"},
    stamped={"web": 32},
)


def machine_status(machine: Machine) -> dict[str, Status]:
    return {check.name: check.status for check in check_machine(machine)}


def site_status(site: Site) -> dict[str, Status]:
    return {check.name: check.status for check in check_site(site)}


def test_a_good_machine_passes() -> None:
    assert set(machine_status(MACHINE).values()) == {Status.OK}


def test_a_good_site_is_warned_of_what_no_arbiter_means() -> None:
    assert {name for name, status in site_status(SITE).items() if status is not Status.OK} == {"arbiter"}


@pytest.mark.parametrize(
    ("facts", "status", "seen"),
    [
        ({"error": "no key"}, Status.FAIL, "witness: no key"),
        ({"reachable": False, "last_error": "silent"}, Status.FAIL, "witness: silent"),
        ({"reachable": True, "mismatch": "lease_ms"}, Status.FAIL, "witness: lease_ms"),
        (
            {"reachable": True, "mismatch": "", "endpoints": ["192.0.2.1"]},
            Status.OK,
            "192.0.2.1 answers. pairs",
        ),
    ],
)
def test_an_arbiter_that_does_not_serve_fails(facts: dict[str, object], status: Status, seen: str) -> None:
    (check,) = check_arbiter({"kind": "witness", "residual_risk": "pairs"} | facts)
    assert check.status is status and seen in check.seen and bool(check.todo) is (status is not Status.OK)


def test_a_reference_address_that_does_not_answer_fails() -> None:
    facts = {"kind": "none", "reachable": False, "last_error": "10.77.0.254", "residual_risk": "both"}
    assert [check.status for check in check_arbiter(facts)] == [Status.WARN, Status.FAIL]


@pytest.mark.parametrize(
    ("release", "version", "expected"),
    [
        ("6.1.0-18-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)", (6, 1, 76)),
        ("6.18.44-fc-v657", "#1 SMP PREEMPT_DYNAMIC @0", (6, 18, 44)),
        ("6.19", "#1 SMP", (6, 19)),
    ],
)
def test_kernel_versions_are_read(release: str, version: str, expected: tuple[int, ...]) -> None:
    assert kernel_version(release, version) == expected


@pytest.mark.parametrize(
    ("release", "status"),
    [
        ("6.12.74", Status.OK),
        ("6.12.75", Status.WARN),
        ("6.12.82+deb13-amd64", Status.WARN),
        ("6.12.83", Status.OK),
        ("6.18.23", Status.WARN),
        ("6.18.24", Status.OK),
        ("6.19.3", Status.OK),
        ("6.19.13", Status.WARN),
        ("6.20.5", Status.OK),
    ],
)
def test_kernels_with_the_queue_fault_are_warned_of(release: str, status: Status) -> None:
    assert check_kernel(replace(MACHINE, release=release, version="")).status is status


@pytest.mark.parametrize(
    ("name", "status"),
    [("NFQUEUE (xt, IPv4)", Status.FAIL), ("TEE (IPv6)", Status.WARN), ("queue (nft)", Status.OK)],
)
def test_what_is_missing_counts_as_much_as_it_matters(name: str, status: Status) -> None:
    machine = replace(MACHINE, trials={**MACHINE.trials, name: Trial(name, "No such file or directory")})
    assert machine_status(machine)[name] is status


def test_limits_of_the_machine() -> None:
    assert machine_status(replace(MACHINE, capabilities=0)) == {
        **machine_status(MACHINE),
        "capabilities": Status.FAIL,
        "locked memory": Status.WARN,
    }
    nice = MACHINE.capabilities & ~(1 << CAP_SYS_NICE)
    assert machine_status(replace(MACHINE, capabilities=nice))["capabilities"] is Status.WARN
    assert machine_status(replace(MACHINE, capabilities=0, memlock=-1))["locked memory"] is Status.OK
    assert machine_status(replace(MACHINE, clock_source="hpet"))["clock source"] is Status.WARN
    assert machine_status(replace(MACHINE, bridge_calls_iptables=True))["bridges"] is Status.WARN


def test_links_without_addresses() -> None:
    deaf = replace(SITE.interfaces["svc0"], multicast=False)
    status = site_status(replace(SITE, interfaces={**SITE.interfaces, "svc0": deaf}))
    assert status["multicast svc0"] is Status.FAIL
    assert site_status(replace(SITE, ethernet=frozenset({"eth9"})))["interface eth9"] is Status.FAIL
    assert (
        site_status(replace(SITE, serial={"/dev/ttyS9": "No such device"}))["serial /dev/ttyS9"]
        is Status.FAIL
    )


def test_faults_of_the_site() -> None:
    svc0, peer0 = SITE.interfaces["svc0"], SITE.interfaces["peer0"]

    def having(**interfaces: Interface) -> dict[str, Status]:
        return site_status(replace(SITE, interfaces={**SITE.interfaces, **interfaces}))

    assert having(svc0=replace(svc0, addresses=frozenset({SERVICE4})))["address 10.77.0.100"] is Status.FAIL
    assert having(peer0=replace(peer0, mtu=1400))["MTU"] is Status.FAIL
    assert having(peer0=replace(peer0, addresses=frozenset()))["link peer0"] is Status.FAIL
    assert having(svc0=replace(svc0, proxy_arp=True))["ARP"] is Status.WARN
    assert having(peer0=replace(peer0, arp_ignore=8))["ARP"] is Status.WARN
    assert having(svc0=replace(svc0, arp_ignore=1), peer0=replace(peer0, proxy_arp=True))["ARP"] is Status.OK
    assert having(svc0=replace(svc0, carrier=False))["interface svc0"] is Status.WARN
    assert site_status(replace(SITE, peer_interface="peer9"))["interface peer9"] is Status.FAIL
    assert site_status(replace(SITE, default_interfaces=frozenset({"eth2"})))["default route"] is Status.WARN
    assert site_status(replace(SITE, stamped={"web": 33}))["header edits of web"] is Status.WARN
    assert site_status(replace(SITE, peer_interface="svc0"))["header edits of web"] is Status.WARN


KEPT = {"level": "kept", "why": "", "rules": True, "guard": True, "missing": [], "stopped": 0}


@pytest.mark.parametrize(
    ("facts", "status", "seen"),
    [
        ({}, Status.OK, "rules and guard stand (kept)"),
        ({"stopped": 3}, Status.WARN, "has stopped 3 packets"),
        (
            {"level": "flushable", "guard": False, "why": "too old"},
            Status.WARN,
            "without a guard (flushable)",
        ),
        ({"rules": False, "missing": ["ip a: 0 rules of 9"]}, Status.FAIL, "not there: ip a: 0 rules of 9"),
    ],
)
def test_how_the_rules_of_a_running_daemon_stand(facts: dict[str, Any], status: Status, seen: str) -> None:
    found = {check.name: check for check in check_site(replace(SITE, firewalls={"web": KEPT | facts}))}
    assert found["firewall web"].status is status and seen in found["firewall web"].seen
    assert found["firewall web"].todo or status is Status.OK


@pytest.mark.parametrize(("up", "status"), [(4, Status.OK), (3, Status.WARN), (0, Status.WARN)])
def test_a_bulk_lane_that_does_not_stand_is_told_of(up: int, status: Status) -> None:
    found = {check.name: check for check in check_site(replace(SITE, lanes={"web": {"up": up, "wanted": 4}}))}
    assert found["bulk lane web"].status is status and f"{up} of 4" in found["bulk lane web"].seen


def test_what_a_running_daemon_lacks_is_repeated() -> None:
    reason = {"why": "server-bound", "what": "the server is bound", "todo": "unbind it"}
    found = [
        check for check in check_site(replace(SITE, not_ready={"web": [reason]})) if "bound" in check.seen
    ]
    assert [(check.name, check.status, check.todo) for check in found] == [
        ("ready web", Status.WARN, "unbind it")
    ]


def test_every_finding_that_is_not_ok_says_what_to_do() -> None:
    trials = {
        name: Trial(name, "missing") for name in (*doctor_module._IN_NAMESPACE, *doctor_module._AS_IT_IS)
    }
    machine = replace(MACHINE, capabilities=0, clock_source="hpet", bridge_calls_iptables=True, trials=trials)
    site = replace(SITE, interfaces={}, default_interfaces=frozenset({"eth2"}))
    findings = [*check_machine(machine), *check_site(site)]
    assert all(finding.todo for finding in findings if finding.status is not Status.OK)
    assert {finding.name for finding in findings} >= set(trials)


def test_the_exit_status_and_json_tell_of_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "see_machine", lambda: MACHINE)
    good = CliRunner().invoke(doctor_module.doctor, ["--json"])
    assert good.exit_code == 0 and json.loads(good.output)["ok"] is True
    monkeypatch.setattr(doctor_module, "see_machine", lambda: replace(MACHINE, capabilities=0))
    bad = CliRunner().invoke(doctor_module.doctor, [])
    assert bad.exit_code == 1 and "-> run as root" in bad.output


def test_a_configuration_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "see_machine", lambda: MACHINE)
    config = tmp_path / "node.toml"
    config.write_text("[node]\nname = 'alpha'\n")
    result = CliRunner().invoke(doctor_module.doctor, ["--config", str(config)])
    assert result.exit_code == 2 and f"{config}: " in result.output
