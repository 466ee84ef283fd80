"""Firewall rules as text."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from fttcp._native import lib
from fttcp.network import leftovers
from fttcp.network.rules import (
    HANDSHAKE_QUEUES,
    GroupNet,
    RulesError,
    chains,
    hop_limits,
    mirror_ruleset,
    missing_rules,
    plain_name,
    removal,
    ruleset,
    saved_rules,
    silence,
)

GROUP = GroupNet(
    name="web",
    addresses=(ip_address("10.77.0.100"), ip_address("fd77::100")),
    ports=((8, 8, "tcp"), (80, 80, "tcp")),
    service_interface="svc0",
    peer_interface="peer0",
    mirror_gateway4=ip_address("10.78.0.2"),
    mirror_gateway6=ip_address("fd78::2"),
    queue_in=77,
    queue_out=93,
)


def test_what_is_added_where_the_kernel_can() -> None:
    assert hop_limits(GROUP, 4) == (
        "*mangle\n"
        "-A FTT-web-tee -i peer0 -d 10.77.0.100 -p tcp -m multiport --dports 8,80 -j TTL --ttl-inc 1\n"
        "COMMIT\n"
    )
    assert "-d fd77::100 -p tcp -m multiport --dports 8,80 -j HL --hl-inc 1\n" in hop_limits(GROUP, 6)
    assert (
        "-A FTT-web-out ! -s 10.77.0.100 -p icmp -m icmp --icmp-type 3 -m u32 --u32 "
        '"0>>22&0x3C@24=0xa4d0064" -j DROP\n'
    ) in silence(GROUP, 4)
    assert '--u32 "72=0xfd770000&&76=0x0&&80=0x0&&84=0x100" -j DROP\n' in silence(GROUP, 6)


def test_what_the_service_opens_is_mirrored_once_and_queued_before_the_kernel_looks_for_its_socket() -> None:
    outward = replace(GROUP, opens=((25, 25, "tcp"), (8000, 8099, "tcp")), channel_port=7710)
    answers = "-m tcp ! --sport 7710 ! --tcp-flags SYN,RST,ACK SYN -m multiport --sports 25,8000:8099"
    mangle, _ = ruleset(outward, 4)
    others = "-m multiport ! --dports 8,80"
    assert mangle.count("-j TEE --gateway") == ruleset(GROUP, 4)[0].count("-j TEE --gateway") + 1
    assert (
        f"-A FTT-web-tee -i svc0 -d 10.77.0.100 -p tcp {answers} {others} -j TEE --gateway 10.78.0.2\n"
        in mangle
    )
    for interface in ("svc0", "peer0"):
        assert (
            f"-A FTT-web-tee -i {interface} -d 10.77.0.100 -p tcp {answers} -j NFQUEUE --queue-num 77\n"
            in mangle
        )
    before, after = mangle.split(f"-A FTT-web-in -p tcp {answers} -j RETURN\n")
    assert "-A FTT-web-in -i" in after and "-A FTT-web-in -i" not in before
    assert (
        f"-I FTT-web-tee -i peer0 -d 10.77.0.100 -p tcp {answers} {others} -j TTL --ttl-inc 1\n"
        in hop_limits(outward, 4)
    )


def test_a_group_without_tcp_or_a_link_of_its_own_has_no_hop_limits() -> None:
    assert hop_limits(replace(GROUP, ports=((69, 69, "udp"),)), 4) == ""
    assert hop_limits(replace(GROUP, peer_interface="svc0"), 4) == "", "clients come in there"


def test_the_rules_of_a_tcp_group() -> None:
    mangle, raw = ruleset(GROUP, 4)
    assert mangle == (
        "*mangle\n"
        ":FTT-web-tee - [0:0]\n"
        ":FTT-web-in - [0:0]\n"
        ":FTT-web-out - [0:0]\n"
        "-I PREROUTING -j FTT-web-tee\n"
        "-I INPUT -j FTT-web-in\n"
        "-I OUTPUT -j FTT-web-out\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p tcp -m multiport --dports 8,80 -j TEE --gateway 10.78.0.2\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 3 -j TEE --gateway 10.78.0.2\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 11 -j TEE --gateway 10.78.0.2\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 12 -j TEE --gateway 10.78.0.2\n"
        "-A FTT-web-tee -i lo -d 10.77.0.100 -m mark --mark 0x4655 -j TEE --gateway 10.78.0.2\n"
        "-A FTT-web-tee -i lo -d 10.77.0.100 -m mark --mark 0x4655 -j DROP\n"
        "-A FTT-web-tee -i lo -d 10.77.0.100 -m mark --mark 0x4654 -m socket -j RETURN\n"
        "-A FTT-web-in -m mark --mark 0x4654 -j RETURN\n"
        "-A FTT-web-in -i svc0 -d 10.77.0.100 -p tcp --tcp-flags SYN,RST,ACK SYN "
        "-m multiport --dports 8,80 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-in -i svc0 -d 10.77.0.100 -p tcp -m multiport --dports 8,80 -j NFQUEUE --queue-num 77\n"
        "-A FTT-web-in -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 3 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-in -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 11 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-in -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 12 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-in -i peer0 -d 10.77.0.100 -p tcp --tcp-flags SYN,RST,ACK SYN "
        "-m multiport --dports 8,80 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-in -i peer0 -d 10.77.0.100 -p tcp -m multiport --dports 8,80 -j NFQUEUE --queue-num 77\n"
        "-A FTT-web-in -i peer0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 3 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-in -i peer0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 11 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-in -i peer0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 12 -j NFQUEUE --queue-num 85\n"
        "-A FTT-web-out ! -o lo -d 10.77.0.100 -m mark --mark 0x4654 -j DROP\n"
        "-A FTT-web-out -m mark --mark 0x4654 -j RETURN\n"
        "-A FTT-web-out ! -o lo -s 10.77.0.100 -p tcp --tcp-flags SYN,RST,ACK SYN,ACK "
        "-j NFQUEUE --queue-num 101\n"
        "-A FTT-web-out ! -o lo -s 10.77.0.100 -j NFQUEUE --queue-num 93\n"
        "COMMIT\n"
    )
    assert raw == (
        "*raw\n"
        ":FTT-web-raw - [0:0]\n"
        "-I PREROUTING -j FTT-web-raw\n"
        "-I OUTPUT -j FTT-web-raw\n"
        "-A FTT-web-raw -d 10.77.0.100 -j CT --notrack\n"
        "-A FTT-web-raw -s 10.77.0.100 -j CT --notrack\n"
        "COMMIT\n"
    )


def test_ipv6_has_its_own_gateway() -> None:
    mangle, _ = ruleset(GROUP, 6)
    assert "-d fd77::100 -p tcp -m multiport --dports 8,80 -j TEE --gateway fd78::2" in mangle
    assert "10.7" not in mangle


def test_a_udp_port_asks_about_all_udp_and_mirrors_none() -> None:
    group = replace(GROUP, ports=((69, 69, "udp"),), mirror_gateway4=None, mirror_gateway6=None)
    mangle, _ = ruleset(group, 4)
    assert "TEE" not in mangle and "tcp" not in mangle
    assert "-A FTT-web-in -i svc0 -d 10.77.0.100 -p udp -j NFQUEUE --queue-num 77\n" in mangle
    assert "-A FTT-web-in -i peer0 -d 10.77.0.100 -p udp -j NFQUEUE --queue-num 77\n" in mangle


def test_workers_share_by_hash() -> None:
    mangle, _ = ruleset(replace(GROUP, workers=4), 4)
    assert HANDSHAKE_QUEUES == lib.FTT_HANDSHAKE_QUEUES >= lib.FTT_MAX_WORKERS
    for number in (77, 77 + HANDSHAKE_QUEUES, 93, 93 + HANDSHAKE_QUEUES):
        assert f"NFQUEUE --queue-balance {number}:{number + 3}\n" in mangle


def test_udp_belongs_to_the_first_worker() -> None:
    """What the primary's worker tells about a session must reach the one that sees the backup's server."""
    group = replace(GROUP, ports=((80, 80, "tcp"), (69, 69, "udp")), workers=4)
    for version, address, icmp in ((4, "10.77.0.100", "icmp"), (6, "fd77::100", "ipv6-icmp")):
        mangle, _ = ruleset(group, version)
        lines = mangle.splitlines()
        out = [line for line in lines if line.startswith(f"-A FTT-web-out ! -o lo -s {address} ")]
        assert [line.partition(f"{address} ")[2] for line in out] == [
            "-p tcp --tcp-flags SYN,RST,ACK SYN,ACK -j NFQUEUE --queue-balance 101:104",
            "-p udp -j NFQUEUE --queue-num 93",
            f"-p {icmp} -j NFQUEUE --queue-num 93",
            "-j NFQUEUE --queue-balance 93:96",
        ]
        for interface in ("svc0", "peer0"):
            assert f"-A FTT-web-in -i {interface} -d {address} -p udp -j NFQUEUE --queue-num 77" in lines


def test_nothing_is_bypassed() -> None:
    for version in (4, 6):
        assert "bypass" not in "".join(ruleset(replace(GROUP, workers=2), version))


def test_many_ports_take_several_rules() -> None:
    group = replace(GROUP, ports=tuple((port, port, "tcp") for port in range(1, 33)))
    mangle, _ = ruleset(group, 4)
    lists = [
        line.split("--dports ")[1].split()[0].split(",")
        for line in mangle.splitlines()
        if "TEE" in line and "--dports" in line
    ]
    assert [len(ports) for ports in lists] == [15, 15, 2]
    assert sorted(int(port) for ports in lists for port in ports) == list(range(1, 33))


def test_a_range_takes_two_places_of_a_rule_however_wide() -> None:
    wide = tuple((1000 * n, 1000 * n + 500, "tcp") for n in range(1, 9))
    mangle, _ = ruleset(replace(GROUP, ports=(*wide, (80, 80, "tcp"))), 4)
    lists = [
        line.split("--dports ")[1].split()[0].split(",")
        for line in mangle.splitlines()
        if "TEE" in line and "--dports" in line
    ]
    assert lists[0] == ["80", *(f"{1000 * n}:{1000 * n + 500}" for n in range(1, 8))]
    assert lists[1:] == [["8000:8500"]]


def test_a_jump_that_is_there_is_moved_to_the_front_not_doubled() -> None:
    saved = "*mangle\n:FTT-web-in - [0:0]\n-A INPUT -j FTT-web-in\nCOMMIT\n"
    mangle, raw = ruleset(GROUP, 4, saved)
    assert "-D INPUT -j FTT-web-in\n-I INPUT -j FTT-web-in\n" in mangle
    assert "-D" not in raw and mangle.count("-D ") == 1


def test_removal_takes_out_what_is_there_and_nothing_else() -> None:
    saved = (
        "*mangle\n:INPUT ACCEPT [0:0]\n:FTT-web-in - [0:0]\n:FTT-web2-in - [0:0]\n"
        "-A INPUT -j FTT-web-in\n-A INPUT -j FTT-web2-in\n-A INPUT -s 192.0.2.1 -j FTT-web-in\n"
        "-A FTT-web-in -j RETURN\nCOMMIT\n"
    )
    assert removal("web", saved) == (
        "*mangle\n-D INPUT -j FTT-web-in\n-D INPUT -s 192.0.2.1 -j FTT-web-in\n"
        "-F FTT-web-in\n-X FTT-web-in\nCOMMIT\n"
    )
    assert removal("other", saved) == ""


def test_chain_names_fit_and_differ() -> None:
    names = ["web", "w" * 20, "w" * 21, "w" * 22, "a b", "a_b", "a/b", "ä"]
    all_chains = [chain for name in names for chain in chains(name)]
    assert len(set(all_chains)) == len(all_chains)
    assert all(len(chain) <= 28 and " " not in chain for chain in all_chains)


def test_missing_rules_are_named() -> None:
    saved = "\n".join(
        ["*mangle", "-A INPUT -j FTT-web-in", "-A FTT-web-in -j RETURN", "-A OUTPUT -j FTT-web-out"]
    )
    lost = ["PREROUTING -> FTT-web-tee", "OUTPUT -> FTT-web-out"]
    assert missing_rules(GROUP, 4, saved, tracked=True) == lost
    assert missing_rules(GROUP, 4, saved) == [*lost, "PREROUTING -> FTT-web-raw", "OUTPUT -> FTT-web-raw"]


def test_a_jump_behind_a_foreign_rule_is_missed() -> None:
    saved = "".join(ruleset(GROUP, 4)).replace("-I ", "-A ")
    assert missing_rules(GROUP, 4, saved) == []
    beside = saved.replace("-A OUTPUT -j FTT-web-out", "-A OUTPUT -j FTT-other-out\n-A OUTPUT -j FTT-web-out")
    assert missing_rules(GROUP, 4, beside) == []
    behind = saved.replace("-A OUTPUT -j FTT-web-out", "-A OUTPUT -j ACCEPT\n-A OUTPUT -j FTT-web-out")
    assert missing_rules(GROUP, 4, behind) == ["OUTPUT -> FTT-web-out"]
    assert missing_rules(GROUP, 4, saved.replace("-A PREROUTING -j FTT-web-raw", "")) == [
        "PREROUTING -> FTT-web-raw"
    ]


def test_the_mirror_moves_alone_and_at_once() -> None:
    moved = replace(GROUP, mirror_gateway4=ip_address("10.78.0.3"))
    assert mirror_ruleset(moved, 4) == (
        "*mangle\n"
        ":FTT-web-tee - [0:0]\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p tcp -m multiport --dports 8,80 -j TEE --gateway 10.78.0.3\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 3 -j TEE --gateway 10.78.0.3\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 11 -j TEE --gateway 10.78.0.3\n"
        "-A FTT-web-tee -i svc0 -d 10.77.0.100 -p icmp -m icmp --icmp-type 12 -j TEE --gateway 10.78.0.3\n"
        "-A FTT-web-tee -i lo -d 10.77.0.100 -m mark --mark 0x4655 -j TEE --gateway 10.78.0.3\n"
        "-A FTT-web-tee -i lo -d 10.77.0.100 -m mark --mark 0x4655 -j DROP\n"
        "-A FTT-web-tee -i lo -d 10.77.0.100 -m mark --mark 0x4654 -m socket -j RETURN\n"
        "COMMIT\n"
    )


def test_a_mirror_that_leads_to_another_peer_is_missed() -> None:
    saved = "".join(ruleset(GROUP, 4)).replace("-I ", "-A ")
    assert missing_rules(GROUP, 4, saved) == []
    moved = replace(GROUP, mirror_gateway4=ip_address("10.78.0.3"))
    assert missing_rules(moved, 4, saved) == ["FTT-web-tee --gateway 10.78.0.3"]


def test_a_tcp_group_without_mirror_gateway_is_refused() -> None:
    with pytest.raises(ValueError, match="IPv6 addresses and TCP ports"):
        replace(GROUP, mirror_gateway6=None)


def test_a_missing_or_failing_tool_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RulesError, match="iptables-save is not installed: apt-get install iptables"):
        asyncio.run(saved_rules(4))
    tool = tmp_path / "ip6tables-save"
    tool.write_text("#!/bin/sh\necho 'no such table' >&2\nexit 3\n")
    tool.chmod(0o755)
    with pytest.raises(RulesError, match=r"ip6tables-save failed \(3\): no such table"):
        asyncio.run(saved_rules(6))


def test_a_long_name_is_found_again_in_the_chains() -> None:
    short = plain_name("a-group-with-a-long-name")
    assert plain_name(short) == short
    found = leftovers._CHAIN.findall(f"-A FTT-{short}-in -j NFQUEUE --queue-num 7700\n")
    assert found == [(short, "-j NFQUEUE --queue-num 7700")]
