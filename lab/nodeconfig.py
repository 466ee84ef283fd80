"""The generated configuration of the lab's node daemons, from ``--serve`` and ``--set``."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.network import (
    ALL_NODES,
    ARBITER_LINK,
    ETCD,
    NODES,
    PEER_LINK,
    SERVICE4,
    SERVICE6,
    SERVICE_LINK,
    STANDBY_INTERFACE,
    WITNESS,
    cables,
)

GROUP = "lab"
RUN_DIR = "/run/fttcp"
CLUSTER = "lab"
WITNESS_PORT = 7720
WITNESS_KEY = "witness.key"
WITNESS_LEASE_MS = 1000
ETCD_PORT, ETCD_PEER_PORT = 2379, 2380
ETCD_LEASE_MS = 2000
"""etcd counts leases in whole seconds, of which fttcp needs two."""
PRIORITIES = (200, 100, 90, 80, 70)
"""Of the nodes, in their order: the first one serves, the next is its backup, the others wait in line."""
SPACE_SEED = 1
"""Hosts of one kernel would choose neighbouring initial sequence numbers, which real ones never do."""
DEFAULT_SERVE = ("80/tcp=python3 -m http.server --bind :: 80",)
_MORE_NODE_KEYS = ("encrypt", "history_kib", "http", "notify", "standby_interfaces")
"""Keys of [node] beside those that are there anyway. (Mininet's Python, which lacks fttcp's libraries, reads
this file too, so they cannot be looked up.)"""

Table = dict[str, Any]


def parse_serve(serve: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split "PORT/PROTO[,PORT/PROTO]...=COMMAND" items into ports and commands. Raises LabError."""
    ports: list[str] = []
    commands: list[str] = []
    for item in serve:
        left, equals, command = item.partition("=")
        for port in left.split(","):
            found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?/(tcp|udp)", port)
            good = found and 1 <= int(found[1]) <= int(found[2] or found[1]) <= 65535
            if not (good and equals and command.strip()):
                raise LabError(
                    f"--serve {item!r}: not understood; wanted is PORT/PROTO=COMMAND, "
                    'for example "80/tcp=python3 -m http.server 80" (PORT 1 to 65535, or a range such as '
                    "8000-8099; PROTO tcp or udp)"
                )
            ports.append(port)
        commands.append(command.strip())
    return ports, commands


def node_config(
    node: str, home: Path, serve: Sequence[str], settings: Sequence[str], nodes: Sequence[str] = NODES
) -> Table:
    """The whole configuration of `node`, one of the `nodes`, as nested tables; a pair's in its short form.

    `settings` are KEY=VALUE with KEY a dotted path into the group (`timing.heartbeat_ms`), or into [node]
    when the first part is a key of it (`log_level`, `http.port`), or into [reference] or [arbiter] when it
    is one of these; a node's name in front limits it to that node. VALUE is TOML, else text.

    With `mode=address` nothing of `serve` is used. Else connections begin at numbers far from those of either
    stack unless `experiment.space_seed` is 0, or `experiment.service_iss` or `service_ts` says where.
    """
    ports, commands = parse_serve(serve)
    links = {cable.link: cable for cable in cables(node)}
    peers = {name: _links(node, name) for name in nodes if name != node}
    config: Table = {
        "node": {
            "name": node,
            "cluster": CLUSTER,
            "key_file": str(home / "key"),
            "run_dir": RUN_DIR,
            "state_dir": str(home / "state"),
            "service_interface": links[SERVICE_LINK].interface,
            "peer_interface": links[PEER_LINK].interface,
            "log_level": "info",
        },
        **_peers(peers),
        "group": [
            {
                "name": GROUP,
                "addresses": [SERVICE4, SERVICE6],
                "ports": ports,
                "commands": commands,
                "priority": PRIORITIES[ALL_NODES.index(node)],
            }
        ],
    }
    for setting in settings:
        _apply(config, node, setting)
    group = config["group"][0]
    if group.get("mode") == "address":
        del group["ports"], group["commands"]
    else:
        _draw_spaces(group)
    return config


def has_standby(node: str, settings: Sequence[str], nodes: Sequence[str]) -> bool:
    """Whether a node is to have its second cable to the clients' network: its configuration names it."""
    if node not in nodes:
        return False
    config = node_config(node, Path("/"), DEFAULT_SERVE, settings, nodes)
    return STANDBY_INTERFACE in config["node"].get("standby_interfaces", ())


def _draw_spaces(group: Table) -> None:
    experiment = group.setdefault("experiment", {})
    if isinstance(experiment, dict) and not {"service_iss", "service_ts"} & set(experiment):
        experiment.setdefault("space_seed", SPACE_SEED)


def _peers(peers: Mapping[str, list[Table]]) -> Table:
    """The tables of the peers, given the links to each."""
    if len(peers) == 1:
        ((name, links),) = peers.items()
        return {"peer": {"name": name}, "link": links}
    return {"peer": [{"name": name, "link": links} for name, links in peers.items()]}


def _links(node: str, peer: str) -> list[Table]:
    """The links from a node to a peer: the peer link, and over the clients' network."""
    own, others = ({cable.link: cable for cable in cables(name)} for name in (node, peer))
    return [
        {
            "interface": own[link].interface,
            "local": str(own[link].address4.ip),
            "remote": str(others[link].address4.ip),
            "remote_v6": str(others[link].address6.ip),
        }
        for link in (PEER_LINK, SERVICE_LINK)
    ]


def check_settings(serve: Sequence[str], settings: Sequence[str], nodes: Sequence[str] = NODES) -> None:
    """Raise LabError when an item of `serve` or `settings` is not understood."""
    for node in nodes:
        node_config(node, Path("/"), serve, settings, nodes)


def write_node_files(
    node: str,
    home: Path,
    key: str,
    serve: Sequence[str],
    settings: Sequence[str] = (),
    nodes: Sequence[str] = NODES,
) -> Path:
    """Write the shared `key` (mode 0600) and the configuration of `node` to `home`; returns its path."""
    _write_key(home / "key", key)
    path = home / "node.toml"
    path.write_text(to_toml(node_config(node, home, serve, settings, nodes)) + "\n")
    return path


def write_witness_files(lab: Path, settings: Sequence[str], nodes: Sequence[str] = NODES) -> list[str]:
    """Write configuration of the witness, and its key for all, to the hosts' directories in `lab`; returns
    the `settings` of nodes that use it.

    `arbiter.*` among the `settings` overrides what is usual here; `arbiter.lease_ms` is the witness's, too.
    """
    (cable,) = cables(WITNESS, ARBITER_LINK)
    address = f"{cable.address4.ip}:{WITNESS_PORT}"
    key = secrets.token_hex(32)
    for host in (WITNESS, *nodes):
        _write_key(lab / host / WITNESS_KEY, key)
    settings = [
        "arbiter.kind=witness", f"arbiter.lease_ms={WITNESS_LEASE_MS}", "arbiter.timeout_ms=200",
        f'arbiter.witness.addresses=["{address}"]',
        *(f'{node}.arbiter.witness.key_file="{lab}/{node}/{WITNESS_KEY}"' for node in nodes), *settings,
    ]  # fmt: skip
    home = lab / WITNESS
    config = {
        "listen": [address],
        "data_file": str(home / "witness.db"),
        "lease_ms": node_config(nodes[0], lab, (), settings, nodes)["arbiter"]["lease_ms"],
        "cluster": [{"name": CLUSTER, "key_file": str(home / WITNESS_KEY)}],
    }
    (home / "witness.toml").write_text(to_toml(config) + "\n")
    return settings


def etcd_settings(settings: Sequence[str]) -> list[str]:
    """Return the `settings` of nodes that use the lab's etcd; `arbiter.*` among them overrides what is usual
    here."""
    (cable,) = cables(ETCD, ARBITER_LINK)
    return [
        "arbiter.kind=etcd", f"arbiter.lease_ms={ETCD_LEASE_MS}", "arbiter.timeout_ms=200",
        f'arbiter.etcd.endpoints=["http://{cable.address4.ip}:{ETCD_PORT}"]', *settings,
    ]  # fmt: skip


def etcd_command(home: Path) -> list[str]:
    """Return the command of the lab's etcd: one member, with its data in `home`. Raises LabError when etcd is
    not installed."""
    program = shutil.which("etcd")
    if program is None:
        raise LabError("etcd is not installed: run make packages as root, or install etcd-server")
    (cable,) = cables(ETCD, ARBITER_LINK)
    client, peer = (f"http://{cable.address4.ip}:{port}" for port in (ETCD_PORT, ETCD_PEER_PORT))
    return [
        program, "--name", ETCD, "--data-dir", str(home / "data"), "--initial-cluster", f"{ETCD}={peer}",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--heartbeat-interval", "50", "--election-timeout", "300",
    ]  # fmt: skip


def _write_key(path: Path, key: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(key + "\n")


def _apply(config: Table, node: str, setting: str) -> None:
    key, equals, text = setting.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise LabError(
            f"--set {setting!r}: not understood; wanted is KEY=VALUE, for example timing.heartbeat_ms=10"
        )
    if parts[0] in ALL_NODES:
        if parts.pop(0) != node:
            return
        if not parts:
            raise LabError(f"--set {setting!r}: no key after the node's name")
    table: Table = config["group"][0]
    if parts[0] in ("reference", "arbiter"):
        table = config
    elif parts[0] in (*config["node"], *_MORE_NODE_KEYS) and parts[0] != "name":
        table = config["node"]
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise LabError(f"--set {setting!r}: {part} is a single value, so it has no keys")
    table[parts[-1]] = _value(text)


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_toml(config: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """Write nested tables as TOML: scalars and lists of scalars first, then tables, then arrays of tables."""
    lines = [f"{key} = {_scalar(value)}" for key, value in config.items() if not _is_nested(value)]
    for key, value in config.items():
        name = (*path, key)
        if isinstance(value, Mapping):
            lines += ["", f"[{'.'.join(name)}]", to_toml(value, name)]
        elif _is_nested(value):
            for entry in value:
                lines += ["", f"[[{'.'.join(name)}]]", to_toml(entry, name)]
    return "\n".join(lines)


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and value != [] and isinstance(value[0], Mapping)
    )


def _scalar(value: Any) -> str:
    """A scalar or list as TOML; JSON writes these the same way, but for times, which are plain text here."""
    return json.dumps(value, ensure_ascii=False, default=str)
