"""What a node has changed of its host's network, in a file: the next start (or `cleanup`) can undo it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fttcp.network import kernel
from fttcp.network.nft import Table

RECORD = "network.json"


@dataclass(frozen=True)
class Record:
    """What must be undone: sysctl path -> (value before, our value), addresses that we put on `lo`,
    routing tables, (group, IP version) of rules of iptables, (family, name) of tables of nf_tables, all
    service addresses, and those of peers that rules of routing name. Holds for one boot and namespace."""

    place: str
    sysctls: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    addresses: frozenset[str] = frozenset()
    tables: frozenset[int] = frozenset()
    rules: frozenset[tuple[str, int]] = frozenset()
    services: frozenset[str] = frozenset()
    nft: frozenset[Table] = frozenset()
    peers: frozenset[str] = frozenset()

    def joined(self, other: Record) -> Record:
        """Both; for a sysctl that both have, this one's value before."""
        return Record(
            self.place,
            {
                path: (self.sysctls.get(path, value)[0], value[1])
                for path, value in {**self.sysctls, **other.sysctls}.items()
            },
            self.addresses | other.addresses,
            self.tables | other.tables,
            self.rules | other.rules,
            self.services | other.services,
            self.nft | other.nft,
            self.peers | other.peers,
        )

    def without(self, other: Record) -> Record:
        """What this one has and the other has not."""
        return Record(
            self.place,
            {path: value for path, value in self.sysctls.items() if path not in other.sysctls},
            self.addresses - other.addresses,
            self.tables - other.tables,
            self.rules - other.rules,
            self.services - other.services,
            self.nft - other.nft,
            self.peers - other.peers,
        )

    def save(self, path: Path) -> None:
        """Replaces the file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(dataclasses.asdict(self), default=sorted, indent=1))
        draft.replace(path)

    @staticmethod
    def load(path: Path) -> Record:
        """The record in a file; an empty one when there is none, or it is of another boot or namespace
        (what it tells is gone with those). Raises KernelError for a file that is not a record."""
        here = place_here()
        if not path.exists():
            return Record(here)
        try:
            data = json.loads(path.read_text())
            record = Record(
                str(data["place"]),
                {name: (str(before), str(ours)) for name, (before, ours) in data["sysctls"].items()},
                frozenset(map(str, data["addresses"])),
                frozenset(map(int, data["tables"])),
                frozenset((str(name), int(version)) for name, version in data["rules"]),
                frozenset(map(str, data["services"])),
                frozenset(Table(int(family), str(name)) for family, name in data.get("nft", [])),
                frozenset(map(str, data.get("peers", []))),
            )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise kernel.KernelError(
                f"{path}: not a record of network settings ({error}): look for leftovers with "
                "`nft list ruleset`, `iptables-save`, `ip rule` and `ip addr show lo`, then remove the file"
            ) from error
        return record if record.place == here else Record(here)


def place_here() -> str:
    """This boot and this network namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespace = Path("/proc/thread-self/ns/net").stat().st_ino
    return f"{boot} {namespace}"
