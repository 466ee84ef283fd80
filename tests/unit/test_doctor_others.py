"""What the doctor says of others that manage a host, and of rules that have no effect."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from fttcp.cli.checks import Check, Status
from fttcp.cli.managers import MANAGERS, Manager, check_managers, see_managers
from fttcp.cli.translations import of_iptables, see_translations

SERVICE, SERVICE6 = ip_address("10.77.0.100"), ip_address("fd77::100")
HTTP = [(80, 80, "tcp")]


def host(root: Path, files: dict[str, str]) -> Path:
    """A host's root directory with these files; an empty process table."""
    for name, text in {"proc/1/comm": "init\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def seen(root: Path, files: dict[str, str]) -> dict[str, Check]:
    found = see_managers([SERVICE, SERVICE6], ["svc0", "peer0"], "peer0", host(root, files))
    return {check.name: check for check in check_managers(found)}


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda one: one.name)
def test_each_is_known_by_each_of_its_signs(manager: Manager, tmp_path: Path) -> None:
    signs = [{"proc/77/comm": f"{name[:15]}\n"} for name in manager.processes]
    signs += [{f"etc/systemd/system/multi-user.target.wants/{name}": ""} for name in manager.units]
    scripts = [name.removesuffix(".service") for name in manager.units if name.endswith(".service")]
    signs += [{f"etc/rc2.d/S05{name}": ""} for name in scripts]
    signs += [{name: ""} for name in manager.files]
    assert signs
    for number, sign in enumerate(signs):
        check = seen(tmp_path / str(number), sign).get(manager.name)
        assert check is not None, sign
        assert check.status in (Status.WARN, Status.OK)
    assert manager.consequence and manager.todo


def test_a_host_with_nothing_else_says_so(tmp_path: Path) -> None:
    (only,) = seen(tmp_path, {"etc/systemd/system/multi-user.target.wants/fttcp.service": ""}).values()
    assert (only.name, only.status) == ("other managers", Status.OK)


@pytest.mark.parametrize(
    ("name", "sign", "file", "text", "other"),
    [
        ("NetworkManager", "proc/7/comm=NetworkManager", "etc/NetworkManager/conf.d/x.conf",
         "[keyfile]\nunmanaged-devices=interface-name:peer0\n", "[keyfile]\n#unmanaged-devices=none\n"),
        ("systemd-networkd", "proc/7/comm=systemd-network", "etc/systemd/networkd.conf.d/f.conf",
         "[Network]\nManageForeignRoutingPolicyRules=no\n", "ManageForeignRoutingPolicyRules=yes\n"),
        ("ifupdown", "sbin/ifup=", "etc/network/interfaces",
         "auto lo\niface lo inet loopback\n", "auto lo\niface lo inet loopback\niface svc0 inet dhcp\n"),
        ("cloud-init", "etc/cloud/cloud.cfg=", "etc/cloud/cloud.cfg.d/99-n.cfg",
         "network: {config: disabled}\n", "network:\n  version: 2\n"),
        ("firewalld", "proc/7/comm=firewalld", "etc/firewalld/firewalld.conf",
         "IPv6_rpfilter=no\n", "IPv6_rpfilter=yes\n"),
        ("ufw", "etc/ufw/ufw.conf=", "etc/ufw/ufw.conf", "ENABLED=no\n", "ENABLED=yes\n"),
        ("nftables.service", "etc/systemd/system/sysinit.target.wants/nftables.service=", "etc/nftables.conf",
         "#!/usr/sbin/nft -f\ntable inet filter {}\n", "#!/usr/sbin/nft -f\n\nflush ruleset\n"),
    ],
)  # fmt: skip
def test_who_was_told_to_keep_away_is_no_warning(
    tmp_path: Path, name: str, sign: str, file: str, text: str, other: str
) -> None:
    place, _, content = sign.partition("=")
    for said, status in ((text, Status.OK), (other, Status.WARN)):
        assert seen(tmp_path, {place: content, file: said})[name].status is status


def test_a_saved_copy_of_our_rules_is_told(tmp_path: Path) -> None:
    for number, (file, text, told) in enumerate(
        (
            ("etc/nftables.conf", "table ip fttcp-rules-web {\n}\n", True),
            ("etc/iptables/rules.v4", "*mangle\n:FTT-web-in - [0:0]\nCOMMIT\n", True),
            ("etc/iptables/rules.v6", "-A PREROUTING -j FTT-web-tee\n", True),
            ("etc/nftables.conf", "# fttcp-web is elsewhere\ntable inet filter { }\n", False),
        )
    ):
        assert ("saved rules" in seen(tmp_path / str(number), {file: text})) is told


def test_a_service_address_in_anothers_configuration_is_a_failure(tmp_path: Path) -> None:
    for number, (file, text, told) in enumerate(
        (
            ("etc/keepalived/keepalived.conf", "virtual_ipaddress {\n  10.77.0.100/24 dev svc0\n}\n", True),
            ("etc/network/interfaces.d/svc", "iface svc0 inet6 static\n  address FD77:0::100/64\n", True),
            ("etc/netplan/50.yaml", "addresses: [10.77.0.10/24, 10.77.0.1001]\n# 10.77.0.100\n", False),
            ("etc/systemd/network/lo.network", "[Network]\nAddress=10.77.0.100/32\n", True),
        )
    ):
        checks = seen(tmp_path / str(number), {file: text})
        assert any(one.status is Status.FAIL and f"/{file}" in one.seen for one in checks.values()) is told


def sysctls(root: Path, files: dict[str, str]) -> list[str]:
    return [line for _, line, _ in see_managers([], ["svc0", "peer0"], "peer0", host(root, files)).sysctls]


def test_sysctls_that_hurt_are_those_that_would_be_set(tmp_path: Path) -> None:
    files = {
        "usr/lib/sysctl.d/50-default.conf": "-net.ipv4.conf.all.rp_filter = 1\nnet.ipv4.tcp_sack=0\n",
        "etc/sysctl.d/60-x.conf": "net.ipv4.conf.all.rp_filter=2\nnet/ipv4/conf/peer0/rp_filter = 1\n",
        "etc/sysctl.d/50-default.conf": "# replaces the other of this name\n;net.ipv4.tcp_sack = 0\n",
        "etc/sysctl.conf": "net.ipv4.conf.svc0.arp_ignore = 0\nnet.ipv4.conf.eth9.arp_ignore = 0\n"
        "kernel.sched_rt_runtime_us = 0\nnet.ipv4.tcp_timestamps = 1\n",
    }
    assert sysctls(tmp_path, files) == [
        "net.ipv4.conf.peer0.rp_filter = 1", "net.ipv4.conf.svc0.arp_ignore = 0",
        "kernel.sched_rt_runtime_us = 0",
    ]  # fmt: skip


IPTABLES = """*nat
-A PREROUTING -d 10.77.0.100/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
-A PREROUTING -d 10.77.0.0/24 -j REDIRECT
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
-A PREROUTING -p tcp -m multiport --dports 443,70:90 -j REDIRECT --to-ports 81
-A PREROUTING ! -d 10.0.0.1/32 -p tcp -j REDIRECT --to-ports 1
-A PREROUTING -p tcp -m tcp ! --dport 81 -j REDIRECT --to-ports 2
"""
HARMLESS = """*nat
-A PREROUTING -d 10.77.0.101/32 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:8080
-A PREROUTING ! -d 10.77.0.100/32 -j REDIRECT
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
-A PREROUTING -p udp -m udp --dport 80 -j REDIRECT --to-ports 81
-A POSTROUTING -s 10.77.0.100/32 -j MASQUERADE
-A PREROUTING -d 10.77.0.100/32 -j DOCKER
"""


def test_rules_of_iptables_that_have_no_effect() -> None:
    lines = [line for line in IPTABLES.splitlines() if line.startswith("-A")]
    assert list(of_iptables(IPTABLES, 4, [SERVICE, SERVICE6], HTTP)) == lines
    assert list(of_iptables(HARMLESS, 4, [SERVICE, SERVICE6], HTTP)) == []
    assert list(of_iptables(IPTABLES, 4, [SERVICE6], HTTP)) == []
    wide = [(8000, 8099, "tcp")]
    assert len(list(of_iptables(HARMLESS, 4, [SERVICE], wide))) == 1


def test_a_host_without_tools_has_no_such_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert see_translations([SERVICE], HTTP) == []
