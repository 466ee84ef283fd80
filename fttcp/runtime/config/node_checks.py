"""What is wrong in [node], and with ports: those of services beside those of fttcp's own."""

from __future__ import annotations

import difflib

from fttcp.runtime.config.schema import (
    MAX_WORKERS,
    NOTIFIED_EVENTS,
    OTHER_EVENTS,
    Config,
    GroupSection,
)
from fttcp.wire.keyfile import is_credential


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


def check_notified(config: Config, errors: list[str]) -> None:
    """Note kinds of events that nothing ever tells."""
    known = (*NOTIFIED_EVENTS, *OTHER_EVENTS)
    events = config.node.notify.events
    for i, kind in enumerate(events):
        where = f"node.notify.events[{i}]"
        if kind not in known:
            near = difflib.get_close_matches(kind, known, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/monitoring.md lists them"
            errors.append(f"{where}: {kind!r} is no kind of event ({hint})")
        elif kind in events[:i]:
            errors.append(f"{where}: {kind!r} stands there twice: remove one")


def check_ports(group: GroupSection, where: str, errors: list[str]) -> None:
    """Note ports that there are not, and those that are named twice."""
    seen: dict[tuple[int, str], int] = {}
    for i, text in enumerate(group.ports):
        number, _, proto = text.partition("/")
        place, port = f"{where}.ports[{i}]", (int(number), proto)
        if not 1 <= port[0] <= 65535:
            errors.append(f"{place}: {text!r} has no valid port (allowed: 1..65535)")
        elif seen.setdefault(port, i) != i:
            errors.append(f"{place}: {text!r} is {where}.ports[{seen[port]}] as well: remove one")


def check_own_ports(config: Config, group: GroupSection, where: str, errors: list[str]) -> None:
    """Note ports of a service that this daemon itself listens on: a server bound to all addresses could not
    begin to listen there."""
    for i, other in enumerate(config.group):
        first, last = other.channel_port, other.channel_port + MAX_WORKERS
        for k, (port, proto) in enumerate(group.port_list):
            if proto == "udp" and first <= port <= last:
                errors.append(
                    f"{where}.ports[{k}]: {group.ports[k]!r} is one of fttcp's own, {first} to {last} "
                    f"(group[{i}].channel_port): choose another channel_port, on all nodes"
                )
    http = config.node.http
    if http.port is None:
        return
    if (http.port, "tcp") in group.port_list and http.address in ("0.0.0.0", "::"):
        errors.append(
            f"node.http.port: {http.port} at all addresses is the service's own port (group {group.name}): "
            "choose another one, or an address of this host"
        )
