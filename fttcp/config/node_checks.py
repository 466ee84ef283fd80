"""What is wrong in [node], and with ports: those of services beside those of fttcp's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import suppress

from fttcp.config.schema import (
    MAX_WORKERS,
    Config,
    GroupSection,
)
from fttcp.config.words import EVENTS
from fttcp.planes.wallclock import LEAST_DRIFT_PPM, SLEW_PPM
from fttcp.wire.keyfile import is_credential
from fttcp.wire.ports import PortRange, parse

MAC = re.compile(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


def check_node(config: Config, errors: list[str]) -> None:
    """Note what is wrong with this host's own settings."""
    node = config.node
    for key in ("key_file", "run_dir", "state_dir"):
        path = getattr(node, key)
        if not path.startswith("/") and not (key == "key_file" and is_credential(path)):
            errors.append(
                f"node.{key}: {path!r} is not a path that begins with / (the daemon and its commands run in "
                "different directories)"
            )
    if node.run_dir.rstrip("/") == node.state_dir.rstrip("/"):
        errors.append(
            f"node.state_dir: {node.state_dir!r} is run_dir as well, which is emptied at a boot; what is in "
            "state_dir must outlive that"
        )
    if node.standby_interfaces and node.service_interface == node.peer_interface:
        errors.append(
            f"node.standby_interfaces: service_interface and peer_interface are both {node.peer_interface!r} "
            "(allowed: none, or a peer_interface of its own)"
        )
    for i, name in enumerate(node.standby_interfaces):
        if name in ("lo", "all", "default"):
            errors.append(f"node.standby_interfaces[{i}]: {name!r} leads to no network (allowed: eth1)")
        if name in (node.peer_interface, *node.adapters[: i + 1]):
            errors.append(
                f"node.standby_interfaces[{i}]: {name!r} is in use already (allowed: other interfaces to the "
                "network that service_interface is on)"
            )
    places = {"0.0.0.0", "::", config.peer[0].link[0].local}
    for i, group in enumerate(config.group):
        first, last = group.channel_port + 1, group.channel_port + MAX_WORKERS
        if node.http.port is not None and node.http.address in places and first <= node.http.port <= last:
            errors.append(
                f"node.http.port: {node.http.port} is a port of fttcp's own, {first} to {last} "
                f"(group[{i}].channel_port): choose another one"
            )


def check_followed_clock(config: Config, errors: list[str]) -> None:
    """Clocks that are led are faster or slower than quartz, and leases are counted by them."""
    if not config.node.follow_clock:
        return
    drifts = {f"group[{i}].timing": group.timing.drift_ppm for i, group in enumerate(config.group)}
    drifts |= {"arbiter": config.arbiter.drift_ppm} if config.arbiter.kind != "none" else {}
    errors += [
        f"{where}.drift_ppm: {drift} is below {LEAST_DRIFT_PPM}, and node.follow_clock slews by {SLEW_PPM} "
        f"ppm on each node (allowed: {LEAST_DRIFT_PPM}..100000)"
        for where, drift in drifts.items()
        if drift < LEAST_DRIFT_PPM
    ]


def check_notified(config: Config, errors: list[str]) -> None:
    """Note kinds of events that nothing ever tells."""
    events = config.node.notify.events
    for i, kind in enumerate(events):
        where = f"node.notify.events[{i}]"
        if trouble := trouble_of_kind(kind):
            errors.append(f"{where}: {trouble}")
        elif kind in events[:i]:
            errors.append(f"{where}: {kind!r} stands there twice: remove one")


def trouble_of_kind(kind: str) -> str:
    """Say that there is no such kind of event; '' if there is."""
    known = tuple(EVENTS)
    if kind in known:
        return ""
    near = difflib.get_close_matches(kind, known, 1)
    hint = f"did you mean {near[0]}?" if near else "`fttcp events --kinds` lists them"
    return f"{kind!r} is no kind of event ({hint})"


def check_ports(group: GroupSection, where: str, errors: list[str]) -> None:
    """Note ports that there are not, and those that are named twice."""
    for key in ("ports", "opens"):
        _check_list(getattr(group, key), f"{where}.{key}", errors)


def check_macs(config: Config, errors: list[str]) -> None:
    """Note MAC addresses that no station can have, and those of two groups: switches find it in one place."""
    seen: dict[str, int] = {}
    for i, group in enumerate(config.group):
        mac = group.mac
        if mac is None or mac == "virtual":
            continue
        if not MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or not int(mac.replace(":", ""), 16):
            errors.append(
                f"group[{i}].mac: {mac!r} is no station's MAC address (allowed: virtual, 02:00:00:00:00:01)"
            )
        elif (first := seen.setdefault(mac.lower(), i)) != i:
            errors.append(f"group[{i}].mac: {mac!r} is that of group[{first}] as well: choose another one")


def _check_list(texts: list[object], where: str, errors: list[str]) -> None:
    seen: list[tuple[int, PortRange]] = []
    for i, text in enumerate(texts):
        place = f"{where}[{i}]"
        if not isinstance(text, str):
            continue  # complained about already
        try:
            ports = parse(text)
        except ValueError as error:
            errors.append(f"{place}: {error}")
            continue
        for k, other in seen:
            if other.proto == ports.proto and ports.first <= other.last and other.first <= ports.last:
                how = "is" if ports == other else "overlaps"
                errors.append(f"{place}: {text!r} {how} {where}[{k}] ({texts[k]}) as well: remove one")
        seen.append((i, ports))


def check_own_ports(config: Config, group: GroupSection, where: str, errors: list[str]) -> None:
    """Note ports of a service that this daemon itself listens on: a server bound to all addresses could not
    begin to listen there."""
    http, beats = config.node.http, config.node.heartbeat_port
    if group.channel_port < beats <= group.channel_port + MAX_WORKERS:
        errors.append(
            f"node.heartbeat_port: {beats} is a port of {where}'s commit channel, "
            f"{group.channel_port + 1} to {group.channel_port + MAX_WORKERS} ({where}.channel_port): "
            "choose another one, on all nodes"
        )
    for k, text, ports in _parsed(group):
        if ports.proto == "udp" and ports.first <= beats <= ports.last:
            errors.append(
                f"{where}.ports[{k}]: {text!r} has the port of fttcp's heartbeats, {beats}: choose another "
                "node.heartbeat_port, on all nodes"
            )
        for i, other in enumerate(config.group):
            first, last = other.channel_port, other.channel_port + MAX_WORKERS
            own = ports.proto == "udp" or (
                ports.first == ports.last > first
            )  # of a long range few are in use
            if own and ports.first <= last and first <= ports.last:
                errors.append(
                    f"{where}.ports[{k}]: {text!r} has ports of fttcp's own, {first} to {last} "
                    f"(group[{i}].channel_port): choose another channel_port, on all nodes"
                )
        if http.port is None or http.address not in ("0.0.0.0", "::"):
            continue
        if ports.proto == "tcp" and ports.first <= http.port <= ports.last:
            errors.append(
                f"node.http.port: {http.port} at all addresses is the service's own port "
                f"({where}.ports[{k}]): choose another one, or an address of this host"
            )


def _parsed(group: GroupSection) -> Iterator[tuple[int, str, PortRange]]:
    """Yield those that are ports."""
    for i, text in enumerate(group.ports):
        if isinstance(text, str):
            with suppress(ValueError):
                yield i, text, parse(text)
