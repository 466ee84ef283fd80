"""The node's configuration file (TOML): read, checked, every error of it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from fttcp.config.checks import check
from fttcp.config.error import ConfigError
from fttcp.config.present import what_is_missing
from fttcp.config.reader import HOLE, Reader, read_tables
from fttcp.config.schema import (
    MAX_LINKS,
    MAX_PEERS,
    MAX_WORKERS,
    QUEUE_OUT_OFFSET,
    Config,
    Experiment,
    GroupSection,
    Http,
    Limits,
    LinkSection,
    Md5Section,
    NodeSection,
    Notify,
    PairFile,
    PairName,
    PeerSection,
    Timing,
)
from fttcp.config.witness import is_witness

__all__ = [
    "MAX_LINKS",
    "MAX_PEERS",
    "MAX_WORKERS",
    "QUEUE_OUT_OFFSET",
    "Config",
    "ConfigError",
    "Experiment",
    "GroupSection",
    "Http",
    "Limits",
    "LinkSection",
    "Md5Section",
    "NodeSection",
    "Notify",
    "PeerSection",
    "Timing",
    "load",
    "load_to_run",
]


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError with every error in it."""
    raw = read_tables(path)
    if is_witness(raw):
        raise ConfigError([f"{path}: a witness's file, and no node's: `fttcp witness --config {path}`"])
    errors: list[str] = []
    config = _read_pair(raw, errors) if _is_pair(raw) else Reader(errors).table(Config, raw, "")
    check(config, errors, in_short=_is_pair(raw))
    if errors:
        raise ConfigError([f"{path}: {error}" for error in errors])
    return cast(Config, config)


def load_to_run(path: Path) -> Config:
    """The same, for a daemon: programs and files that it names must be there. Raises ConfigError."""
    config = load(path)
    errors = [f"{path}: {error}" for error in what_is_missing(config)]
    if errors:
        raise ConfigError(errors)
    return config


def _is_pair(raw: dict[str, Any]) -> bool:
    """Tell the short form, for one peer, from the long one."""
    return not isinstance(raw.get("peer"), list)


def _read_pair(raw: dict[str, Any], errors: list[str]) -> Config:
    file: PairFile = Reader(errors).table(PairFile, raw, "")
    peer = file.peer if isinstance(file.peer, PairName) else PairName(cast(str, HOLE))
    return Config(
        file.node,
        [PeerSection(peer.name, file.link, peer.capacity)],
        file.group,
        file.reference,
        file.arbiter,
        file.sync,
        file.spread,
    )
