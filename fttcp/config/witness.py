"""The witness's own configuration file."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from fttcp.config.endpoint import DEFAULT_WITNESS_PORT, not_to_listen_at, parse_endpoint
from fttcp.config.error import ConfigError
from fttcp.config.reader import IncompleteError, Reader, read_tables
from fttcp.config.schema import Name, Word
from fttcp.wire.keyfile import is_credential


class ClusterSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[cluster]]: nodes that this witness serves."""

    name: Name
    key_file: Word


class WitnessConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    cluster: Annotated[list[ClusterSection], Meta(min_length=1, max_length=256)]
    data_file: Word = "/var/lib/fttcp/witness.db"
    listen: Annotated[list[Word], Meta(min_length=1, max_length=16)] = field(
        default_factory=lambda: [f"0.0.0.0:{DEFAULT_WITNESS_PORT}"]
    )
    lease_ms: Annotated[int, Meta(ge=500, le=600_000)] = 3000
    drift_ppm: Annotated[int, Meta(ge=0, le=100_000)] = 1000

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """Where to listen."""
        return [parse_endpoint(text) for text in self.listen]


def is_witness(raw: dict[str, Any]) -> bool:
    """Tell a witness's file from a node's."""
    return "node" not in raw and not raw.keys().isdisjoint(("cluster", "listen", "data_file"))


def load_witness(path: Path) -> WitnessConfig:
    """Read and check the witness's file. Raises ConfigError with every error in it."""
    raw = read_tables(path)
    if "node" in raw:
        raise ConfigError([f"{path}: a node's file, and no witness's: `fttcp node --config {path}`"])
    errors: list[str] = []
    config: WitnessConfig = Reader(errors).table(WitnessConfig, raw, "")
    for check in (_check_listen, _check_paths, _check_names):
        with suppress(IncompleteError):
            check(config, errors)
    if errors:
        raise ConfigError([f"{path}: {error}" for error in errors])
    return config


def _check_listen(config: WitnessConfig, errors: list[str]) -> None:
    """No two may want the same address and port; IPv4 and IPv6 have ports of their own."""
    seen: list[tuple[int, IPv4Address | IPv6Address, int]] = []
    for i, text in enumerate(config.listen):
        where = f"listen[{i}]"
        try:
            host, port = parse_endpoint(text)
        except ValueError as error:
            errors.append(f"{where}: {error}")
            continue
        address = ip_address(host)
        why = not_to_listen_at(address)
        if why:
            errors.append(f"{where}: {text!r}: {why}")
        for k, other, its_port in seen:
            anywhere = address.is_unspecified or other.is_unspecified
            if port == its_port and address.version == other.version and (address == other or anywhere):
                errors.append(f"{where}: {text!r} is what listen[{k}] has, too: remove one of the two")
        seen.append((i, address, port))


def _check_paths(config: WitnessConfig, errors: list[str]) -> None:
    places = [("data_file", config.data_file)]
    places += [(f"cluster[{i}].key_file", cluster.key_file) for i, cluster in enumerate(config.cluster)]
    for where, path in places:
        if not path.startswith("/") and not (where.endswith("key_file") and is_credential(path)):
            errors.append(f"{where}: {path!r} is not a path that begins with /")


def _check_names(config: WitnessConfig, errors: list[str]) -> None:
    names = [cluster.name for cluster in config.cluster]
    for i, name in enumerate(names):
        if name in names[:i]:
            errors.append(f"cluster[{i}].name: {name!r} is the name of cluster[{names.index(name)}] as well")
