"""What spans several values, or cannot be said by a type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from fttcp.config.address import check_mode
from fttcp.config.addressing import (
    check_between_groups,
    check_links_differ,
    check_own_and_peers,
    check_services,
    check_services_are_free,
    check_udp_link,
    read_address,
)
from fttcp.config.arbiter import ARBITER_CHECKS
from fttcp.config.health_checks import check_command, check_health, check_reference
from fttcp.config.lockstep import check_lockstep
from fttcp.config.node_checks import (
    MAC,
    check_followed_clock,
    check_macs,
    check_node,
    check_notified,
    check_own_ports,
    check_ports,
)
from fttcp.config.placement import check_prefer
from fttcp.config.reader import HOLE, IncompleteError
from fttcp.config.schema import (
    LINK_KEYS,
    MAX_WORKERS,
    QUEUE_OUT_OFFSET,
    Config,
    GroupSection,
    LinkSection,
    PeerSection,
)
from fttcp.config.spread import check_spread
from fttcp.config.standby import check_standby
from fttcp.config.sync import check_sync
from fttcp.wire.keyfile import is_credential

_BITS_OF_A_BEAT = 3000
_BITS_OF_A_GROUP = 360
_GROUPS_OF_A_BEAT = 31
"""On a serial line, framed, ten bits for each byte: of a datagram with one group and its body, of each other
group in it, and how many fit. Of the datagrams of a tick the line takes the first one (beat_peer.c)."""
_MEMORY_BEFORE_SPOOL = 64 << 10, 4 << 20
"""Bytes of a connection in memory: what comes at once must fit; more would be copied at once."""


def check(config: Config, errors: list[str], in_short: bool) -> None:
    """Note what is wrong between values, or cannot be said by a type. ``in_short``: the file has the short
    form of a pair, so places are named by it. What hangs on a value that is wrong by itself is left out."""
    for one_check in _checks(config, errors, in_short):
        with suppress(IncompleteError):
            one_check()


def _checks(config: Config, errors: list[str], in_short: bool) -> Iterator[Callable[[], object]]:
    """Yield every check, each on its own, so that a hole in the file silences no more than it must."""
    peers: list[Any] = _entries(config.peer)
    groups: list[GroupSection] = _entries(config.group)
    names, prefixes = (["peer"], [""]) if in_short else _names(len(peers))
    for peer, name, prefix in zip(peers, names, prefixes, strict=True):
        yield partial(_check_peer, config, peer, name, prefix, errors)
        for i, link in enumerate(_entries(peer.link) if peer is not HOLE else []):
            yield partial(_check_link, link, f"{prefix}link[{i}]", errors)
        yield partial(check_links_differ, peer, prefix, errors)
    yield partial(_check_between_peers, config, errors)
    yield partial(check_own_and_peers, config, prefixes, errors)
    yield partial(check_services_are_free, config, prefixes, errors)
    yield partial(check_node, config, errors)
    yield partial(check_notified, config, errors)
    yield partial(check_followed_clock, config, errors)
    yield partial(check_macs, config, errors)
    yield partial(_check_majority, config, errors)
    if config.reference is not None:
        yield partial(check_reference, config, config.reference, errors)
    for i, entry in enumerate(_entries(config.sync)):
        yield partial(check_sync, config, entry, i, errors)
    for i, target in enumerate(_entries(config.spread)):
        yield partial(check_spread, config, target, i, errors)
    for of_arbiter in ARBITER_CHECKS:
        yield partial(of_arbiter, config.arbiter, errors)
    for i, group in enumerate(groups):
        here = f"group[{i}]"
        for part in (
            check_mode,
            _check_server,
            _check_engine,
            check_services,
            check_ports,
            _check_timing,
            _check_state,
            _check_order,
            check_lockstep,
            check_standby,
            _check_renewal,
            _check_spool,
            _check_follows,
            _check_md5,
            _check_recording,
            check_health,
        ):
            yield partial(part, group, here, errors)
        yield partial(check_own_ports, config, group, here, errors)
        yield partial(_check_solo_lease, config, group, here, errors)
        yield partial(check_prefer, config, group, here, errors)
        for peer, prefix in zip(peers, prefixes, strict=True):
            yield partial(_check_mirror, group, here, peer, f"{prefix}link[0]", errors)
            yield partial(_check_speed, group, here, len(groups), peer, prefix, errors)
        for j, other in enumerate(groups[:i]):
            for part2 in (_check_same_name, check_between_groups, _check_same_numbers):
                yield partial(part2, group, other, here, f"group[{j}]", errors)


def _check_state(group: GroupSection, here: str, errors: list[str]) -> None:
    if group.state == "files" and group.hooks.ready_to_follow is None:
        errors.append(
            f'{here}.state: "files" needs {here}.hooks.ready_to_follow, a program whose exit status tells '
            "whether this node has the files that its server must have before it follows"
        )


def _check_order(group: GroupSection, here: str, errors: list[str]) -> None:
    udp = [text for text in group.ports if text.endswith("/udp")]
    if group.order == "service" and udp:
        errors.append(
            f'{here}.order: "service" is an order of TCP connections, and {here}.ports has {", ".join(udp)} '
            '(allowed: "flow"; or the UDP ports in a group of their own)'
        )


def _check_renewal(group: GroupSection, here: str, errors: list[str]) -> None:
    """A history is one order of everything that a server is told."""
    if group.renew != "history":
        return
    udp = [text for text in group.ports if text.endswith("/udp")]
    if udp:
        errors.append(
            f'{here}.renew: "history" is one of TCP connections, and {here}.ports has {", ".join(udp)} '
            '(allowed: "connections", "none"; or the UDP ports in a group of their own)'
        )
    fitting = {"workers": (1,), "lockstep": ("off", "calls")}
    errors += [
        f'{here}.{key}: {value!r} does not go with {here}.renew = "history" '
        f"(allowed: {', '.join(map(repr, allowed))})"
        for key, allowed in fitting.items()
        if (value := getattr(group, key)) not in allowed
    ]


def _check_spool(group: GroupSection, here: str, errors: list[str]) -> None:
    """What goes to the spool goes through memory."""
    if group.renew_spool_dir is None:
        return
    least, most = _MEMORY_BEFORE_SPOOL
    if group.renew != "connections":
        errors.append(
            f"{here}.renew_spool_dir: {here}.renew is {group.renew!r}, which has no use for it "
            '(allowed: "connections")'
        )
    if not least <= group.limits.renew_flow_bytes <= most:
        errors.append(
            f"{here}.limits.renew_flow_bytes: {group.limits.renew_flow_bytes} with {here}.renew_spool_dir, "
            f"through whose memory all goes (allowed: {least}..{most})"
        )


def _check_follows(group: GroupSection, here: str, errors: list[str]) -> None:
    """Whose backup opens or signs connections needs a running server, and no history has them."""
    fitting = {"standby": ("hot",), "renew": ("connections", "none"), "engine": ("nfqueue",)}
    errors += [
        f"{here}.{key}: {value!r} does not go with {here}.{what} (allowed: {', '.join(map(repr, allowed))})"
        for what in ("opens", "md5")
        if getattr(group, what)
        for key, allowed in fitting.items()
        if (value := getattr(group, key)) not in allowed
    ]


def _check_md5(group: GroupSection, here: str, errors: list[str]) -> None:
    """Each peer has one key."""
    seen: dict[IPv4Network | IPv6Network, int] = {}
    for i, entry in enumerate(group.md5):
        where = f"{here}.md5[{i}]"
        if not entry.key_file.startswith("/") and not is_credential(entry.key_file):
            errors.append(f"{where}.key_file: {entry.key_file!r} is not a path that begins with /")
        try:
            network = entry.network
        except ValueError as error:
            errors.append(f"{where}.peer: {error} (allowed: an address, or a network as in 192.0.2.0/24)")
            continue
        if seen.setdefault(network, i) != i:
            errors.append(f"{where}.peer: {entry.peer!r} is what md5[{seen[network]}] has, too")


def _check_recording(group: GroupSection, here: str, errors: list[str]) -> None:
    """How a connection began is kept for a renewal."""
    if group.history_dir is not None and group.renew == "none":
        errors.append(f'{here}.history_dir needs {here}.renew (allowed: any but "none")')


def _entries(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _names(count: int) -> tuple[list[str], list[str]]:
    """Return how peers are called in complaints, and how their links begin."""
    names = [f"peer[{i}]" for i in range(count)]
    return names, [f"{name}." for name in names]


def _check_between_peers(config: Config, errors: list[str]) -> None:
    """Peers differ in name, share the address of the commit channel, and no serial line."""
    lines: dict[str, str] = {}
    for i, peer in enumerate(config.peer):
        if peer.name in [other.name for other in config.peer[:i]]:
            errors.append(f"peer[{i}].name: {peer.name!r} is the name of another peer as well")
        if peer.link[0].remote in [other.link[0].remote for other in config.peer[:i]]:
            errors.append(
                f"peer[{i}].link[0].remote: {peer.link[0].remote!r} is the address of another peer as well"
            )
        if peer.link[0].local != config.peer[0].link[0].local:
            errors.append(
                f"peer[{i}].link[0].local: {peer.link[0].local!r} is not that of peer[0], "
                f"{config.peer[0].link[0].local!r} (the commit channel has one address for all peers)"
            )
        for k, link in enumerate(peer.link):
            place = f"peer[{i}].link[{k}]"
            if link.device is not None and lines.setdefault(link.device, place) != place:
                errors.append(
                    f"{place}.device: {link.device!r} is used by {lines[link.device]} already "
                    "(a line has two ends)"
                )


def _check_majority(config: Config, errors: list[str]) -> None:
    """Two nodes can agree without a third party; of more, two could hear each other and a third serve."""
    if len(config.peer) > 1 and config.arbiter.kind == "none":
        errors.append(
            f"arbiter.kind: 'none' cannot keep {len(config.peer) + 1} nodes apart: it serves a pair only, "
            f"and there are {len(config.peer)} peers (allowed: witness, etcd; or one peer)"
        )


def _check_peer(config: Config, peer: PeerSection, where: str, prefix: str, errors: list[str]) -> None:
    if config.node.name == peer.name:
        errors.append(f"{where}.name: {peer.name!r} is this node's own name (allowed: the other node's name)")
    first = peer.link[0]
    if first.transport != "udp":
        errors.append(
            f"{prefix}link[0].transport: {first.transport!r}, but the first link carries the commit channel "
            "(allowed: udp)"
        )
    elif first.interface not in (None, config.node.peer_interface):
        errors.append(
            f"{prefix}link[0].interface: {first.interface!r} is not node.peer_interface "
            f"{config.node.peer_interface!r} (the first link carries the mirror)"
        )


def _check_mirror(group: GroupSection, where: str, peer: PeerSection, place: str, errors: list[str]) -> None:
    """The peer needs an address for each IP version of which packets are mirrored."""
    link = peer.link[0]
    if link.transport != "udp" or link.remote is None:
        return  # complained about already
    versions = {_version(text) for text in group.addresses}
    if any(text.endswith("/tcp") for text in group.ports):
        for version, given in ((4, _version(link.remote) == 4), (6, _v6_gateway(link) is not None)):
            if not given and version in versions:
                key = "remote_v6" if version == 6 else "remote"
                errors.append(
                    f"{place}.{key}: {where} has an IPv{version} address and TCP ports, so the "
                    f"peer's IPv{version} address on the peer link is needed"
                )


def _check_link(link: LinkSection, where: str, errors: list[str]) -> None:
    """A link has the keys of its transport, and their values are fit for it."""
    needed, possible = LINK_KEYS[link.transport]
    given = {
        name for name in link.__struct_fields__ if name != "transport" and getattr(link, name) is not None
    }
    missing = [key for key in needed if key not in given]
    foreign = sorted(given.difference(needed, possible))
    errors += [f"{where}.{key}: missing (transport {link.transport} needs it)" for key in missing]
    errors += [
        f"{where}.{key}: transport {link.transport} has no such key "
        f"(allowed: {', '.join((*needed, *possible))})"
        for key in foreign
    ]
    if missing:
        return
    if link.transport == "udp":
        check_udp_link(link, where, errors)
    elif link.transport == "multicast":
        group = read_address(str(link.remote), f"{where}.remote", errors)
        if group and not group.is_multicast:
            errors.append(
                f"{where}.remote: {link.remote!r} is not a multicast address "
                "(allowed: one such as 239.255.77.1 or ff15::77)"
            )
    elif link.transport == "ethernet":
        if not MAC.fullmatch(str(link.remote)):
            errors.append(
                f"{where}.remote: {link.remote!r} is not a MAC address (allowed: 02:00:00:00:00:01)"
            )
        elif not int(str(link.remote).replace(":", ""), 16):
            errors.append(f"{where}.remote: {link.remote!r} is the address of nobody: write the peer's")


def _check_server(group: GroupSection, where: str, errors: list[str]) -> None:
    sources = [bool(group.all_commands), group.pid_file is not None, group.unit is not None]
    if sources.count(True) != 1 and group.mode == "connection":
        errors.append(f"{where}: exactly one of command (or commands), pid_file, unit is needed")
    check_command(group.command, f"{where}.command", errors)
    for i, command in enumerate(group.commands):
        check_command(command, f"{where}.commands[{i}]", errors)


def _check_engine(group: GroupSection, where: str, errors: list[str]) -> None:
    if group.engine == "programmable" and group.workers != 1:
        errors.append(f"{where}.workers: {group.workers}, but the programmable engine has one (allowed: 1)")
    if group.engine != "programmable" and group.experiment.callback is not None:
        errors.append(f'{where}.experiment.callback: only engine = "programmable" calls it')
    if group.experiment.space_seed and (
        group.experiment.service_iss is not None or group.experiment.service_ts is not None
    ):
        errors.append(f"{where}.experiment.space_seed: draws what service_iss and service_ts would fix")


def _check_timing(group: GroupSection, where: str, errors: list[str]) -> None:
    if group.timing.startup_ms < 5 * group.timing.lease_ms:
        errors.append(
            f"{where}.timing.startup_wait_ms: {group.timing.startup_ms} is below 5 * heartbeat_ms * "
            f"heartbeat_misses (allowed: {5 * group.timing.lease_ms}..600000)"
        )


def _check_solo_lease(config: Config, group: GroupSection, where: str, errors: list[str]) -> None:
    """The arbiter must not give the group to a third node while a backup's grant may let the holder emit, and
    a renewal that is answered late must still leave a whole D."""
    timing, arbiter = group.timing, config.arbiter
    least_ms = -(-2 * timing.lease_ms * (1_000_000 + timing.drift_ppm) // 1_000_000)
    if arbiter.kind != "none" and arbiter.lease_ms < least_ms:
        errors.append(
            f"arbiter.lease_ms: {arbiter.lease_ms} is below twice heartbeat_ms * heartbeat_misses of "
            f"{where}, drift included (allowed: {least_ms}..600000)"
        )


def _check_speed(
    group: GroupSection, where: str, groups: int, peer: PeerSection, prefix: str, errors: list[str]
) -> None:
    """A serial line on which a group is regularly not heard of for D would be called lost all the time."""
    turns = -(-groups // _GROUPS_OF_A_BEAT)
    bits = _BITS_OF_A_BEAT + _BITS_OF_A_GROUP * (min(groups, _GROUPS_OF_A_BEAT) - 1)
    for i, link in enumerate(peer.link):
        if link.baud is None:
            continue
        beat_ms = 1000 * bits // link.baud
        silence_ms = turns * max(beat_ms, group.timing.heartbeat_ms) + beat_ms
        if silence_ms > group.timing.lease_ms:
            lease = f"{group.timing.lease_ms} ms (heartbeat_ms * heartbeat_misses)"
            alone = f"too long for the {lease} of {where}"
            in_turn = (
                f"and has room for {_GROUPS_OF_A_BEAT} of the {groups} groups: {where} would be silent for "
                f"{silence_ms} ms, of its {lease}"
            )
            errors.append(
                f"{prefix}link[{i}].baud: at {link.baud} a heartbeat takes {beat_ms} ms, "
                f"{alone if turns == 1 else in_turn}"
            )


def _version(text: str | None) -> int:
    try:
        return ip_address(text or "").version
    except ValueError:
        return 0


def _v6_gateway(link: LinkSection) -> str | None:
    return link.remote_v6 or (link.remote if _version(link.remote) == 6 else None)


def _check_same_name(
    group: GroupSection, other: GroupSection, here: str, there: str, errors: list[str]
) -> None:
    if group.name == other.name:
        errors.append(f"{here}.name: {group.name!r} is the name of {there} as well")


def _check_same_numbers(
    group: GroupSection, other: GroupSection, here: str, there: str, errors: list[str]
) -> None:
    if abs(group.queue - other.queue) < 2 * QUEUE_OUT_OFFSET:
        errors.append(
            f"{here}.queue: {group.queue} is too near {other.queue} of {there} "
            f"(a group takes {2 * QUEUE_OUT_OFFSET} numbers)"
        )
    if abs(group.channel_port - other.channel_port) <= MAX_WORKERS:
        errors.append(
            f"{here}.channel_port: {group.channel_port} is too near {other.channel_port} of {there} "
            f"(a group takes {MAX_WORKERS + 1} ports)"
        )
