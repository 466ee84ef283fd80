"""What spans several values, or cannot be said by a type."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from fttcp.runtime.config.schema import (
    MAX_WORKERS,
    QUEUE_OUT_OFFSET,
    Config,
    GroupSection,
    LinkSection,
    PeerSection,
)


def check(config: Config, errors: list[str], in_short: bool) -> None:
    """Note what is wrong between values, or cannot be said by a type. ``in_short``: the file has the short
    form of a pair, so places are named by it."""
    for i, peer in enumerate(config.peer):
        _check_peer(
            config, peer, "peer" if in_short else f"peer[{i}]", "" if in_short else f"peer[{i}].", errors
        )
    for i, peer in enumerate(config.peer):
        if peer.name in [other.name for other in config.peer[:i]]:
            errors.append(f"peer[{i}].name: {peer.name!r} is the name of another peer as well")
        if peer.link[0].local != config.peer[0].link[0].local:
            errors.append(
                f"peer[{i}].link[0].local: {peer.link[0].local!r} is not that of peer[0], "
                f"{config.peer[0].link[0].local!r} (the commit channel has one address for all peers)"
            )
    for i, group in enumerate(config.group):
        _check_group(config, group, f"group[{i}]", errors)
        for k, peer in enumerate(config.peer):
            place = "link[0]" if in_short else f"peer[{k}].link[0]"
            _check_mirror(group, f"group[{i}]", peer.link[0], place, errors)
    _check_overlaps(config, errors)


def _check_peer(config: Config, peer: PeerSection, where: str, prefix: str, errors: list[str]) -> None:
    if config.node.name == peer.name:
        errors.append(f"{where}.name: {peer.name!r} is this node's own name (allowed: the other node's name)")
    if peer.link[0].interface != config.node.peer_interface:
        errors.append(
            f"{prefix}link[0].interface: {peer.link[0].interface!r} is not node.peer_interface "
            f"{config.node.peer_interface!r} (the first link carries the mirror)"
        )
    for i, link in enumerate(peer.link):
        _check_link(link, f"{prefix}link[{i}]", errors)


def _check_mirror(group: GroupSection, where: str, link: LinkSection, place: str, errors: list[str]) -> None:
    """The peer needs an address for each IP version of which packets are mirrored."""
    versions = {_version(text) for text in group.addresses}
    if any(text.endswith("/tcp") for text in group.ports):
        for version, given in ((4, _version(link.remote) == 4), (6, _v6_gateway(link) is not None)):
            if not given and version in versions:
                key = "remote_v6" if version == 6 else "remote"
                errors.append(
                    f"{place}.{key}: {where} has an IPv{version} address and TCP ports, so the "
                    f"peer's IPv{version} address on the peer link is needed"
                )


def _address(text: str, where: str, errors: list[str]) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        errors.append(
            f"{where}: {text!r} is not an IP address (allowed: IPv4 or IPv6, without prefix length)"
        )
        return None


def _check_link(link: LinkSection, where: str, errors: list[str]) -> None:
    local = _address(link.local, f"{where}.local", errors)
    remote = _address(link.remote, f"{where}.remote", errors)
    if local and remote:
        if local.version != remote.version:
            errors.append(
                f"{where}.remote: {link.remote!r} is not of the same IP version as local {link.local!r}"
            )
        if local == remote:
            errors.append(f"{where}.remote: {link.remote!r} is this node's own address")
    if link.remote_v6 is not None:
        remote_v6 = _address(link.remote_v6, f"{where}.remote_v6", errors)
        if remote_v6 and remote_v6.version != 6:
            errors.append(f"{where}.remote_v6: {link.remote_v6!r} is not an IPv6 address")


def _check_group(config: Config, group: GroupSection, where: str, errors: list[str]) -> None:
    for i, text in enumerate(group.addresses):
        _address(text, f"{where}.addresses[{i}]", errors)
    for i, text in enumerate(group.ports):
        if not 1 <= int(text.partition("/")[0]) <= 65535:
            errors.append(f"{where}.ports[{i}]: {text!r} has no valid port (allowed: 1..65535)")
    sources = [bool(group.all_commands), group.pid_file is not None, group.unit is not None]
    if sources.count(True) != 1:
        errors.append(f"{where}: exactly one of command (or commands), pid_file, unit is needed")
    if group.engine == "programmable" and group.workers != 1:
        errors.append(f"{where}.workers: {group.workers}, but the programmable engine has one (allowed: 1)")
    if group.engine != "programmable" and group.experiment.callback is not None:
        errors.append(f'{where}.experiment.callback: only engine = "programmable" calls it')
    if group.timing.startup_ms < 5 * group.timing.lease_ms:
        errors.append(
            f"{where}.timing.startup_wait_ms: {group.timing.startup_ms} is below 5 * heartbeat_ms * "
            f"heartbeat_misses (allowed: {5 * group.timing.lease_ms}..600000)"
        )


def _version(text: str) -> int:
    try:
        return ip_address(text).version
    except ValueError:
        return 0


def _v6_gateway(link: LinkSection) -> str | None:
    return link.remote_v6 or (link.remote if _version(link.remote) == 6 else None)


def _check_overlaps(config: Config, errors: list[str]) -> None:
    """Two groups must not share a name, address, queue or channel port."""
    for i, group in enumerate(config.group):
        for j, other in enumerate(config.group[:i]):
            here, there = f"group[{i}]", f"group[{j}]"
            if group.name == other.name:
                errors.append(f"{here}.name: {group.name!r} is the name of {there} as well")
            for address in sorted(set(group.addresses) & set(other.addresses)):
                errors.append(f"{here}.addresses: {address!r} belongs to {there} as well")
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
