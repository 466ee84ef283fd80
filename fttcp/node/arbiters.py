"""From [arbiter] of the configuration to the settings of a backend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from fttcp.arbiter import open_arbiter
from fttcp.arbiter.base import ArbiterError, Roll
from fttcp.arbiter.settings import (
    Address,
    EtcdSettings,
    NoneSettings,
    Settings,
    TlsFiles,
    WitnessSettings,
)
from fttcp.config import Config
from fttcp.config.arbiter import EtcdSection, NoneSection, WitnessSection
from fttcp.network.interface import has_carrier
from fttcp.ownership.model import NS_PER_MS
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError
from fttcp.wire.witness import Keys


def arbiter_settings(current: Callable[[], Config], adapter: Callable[[], str] | None = None) -> Settings:
    """Return what ``open_arbiter`` wants; ``current`` gives the configuration as it is after reloads,
    ``adapter`` the service interface of now.

    Raises ArbiterError, WireError (a key that will not serve), OSError (no such interface).
    """
    config = current()
    section = config.arbiter
    if section.kind == "witness" and section.witness is not None:
        return _witness(current, section.witness)
    if section.kind == "etcd" and section.etcd is not None:
        return _etcd(config, section.etcd)
    return _none(current, section.none or NoneSection(), adapter or (lambda: config.node.service_interface))


async def examine(config: Config) -> dict[str, Any]:
    """Ask the arbiter of a configuration beside the daemon that may run; return what it is like.

    That is ``ArbiterClient.describe`` and the ``records`` of the groups, or ``error``.
    """
    try:
        settings = replace(arbiter_settings(lambda: config), node=f"{config.node.name}.doctor")
        arbiter = await open_arbiter(settings, watch=False)
    except (ArbiterError, WireError, OSError) as error:
        return {"kind": config.arbiter.kind, "error": str(error)}
    try:
        records = {}
        if await arbiter.check() and config.arbiter.kind != "none":
            for group in config.group:
                answer = await arbiter.inquire(group.name)
                records[group.name] = None if answer.record is None else asdict(answer.record)
        return arbiter.describe() | {"records": records}
    finally:
        await arbiter.close()


async def roll_of(config: Config, forget: str | None = None) -> Roll:
    """Return the record of the nodes, after what the node ``forget`` told is forgotten, if it is given.

    Raises ArbiterError, WireError, OSError.
    """
    settings = replace(arbiter_settings(lambda: config), node=f"{config.node.name}.members")
    arbiter = await open_arbiter(settings, watch=False)
    try:
        return await (arbiter.roll() if forget is None else arbiter.forget(forget, config.node.name))
    finally:
        await arbiter.close()


async def witness_answers_to(config: Config, key: bytes) -> bool:
    """True if the witness of a configuration answers a question that is signed with this key.

    Raises ArbiterError, WireError.
    """
    settings = arbiter_settings(lambda: config)
    assert isinstance(settings, WitnessSettings)
    settings = replace(settings, node=f"{config.node.name}.key", keys=Keys(keyfile.KeyRing((key,))))
    arbiter = await open_arbiter(settings, watch=False)
    try:
        return await arbiter.check()
    finally:
        await arbiter.close()


def _none(current: Callable[[], Config], section: NoneSection, adapter: Callable[[], str]) -> NoneSettings:
    config = current()

    def services(name: str) -> tuple[Address, ...]:
        return next((group.ip_addresses for group in current().group if group.name == name), ())

    return NoneSettings(
        node=config.node.name,
        interface=adapter,
        services=services,
        references=[ip_address(text) for text in config.reference.addresses] if config.reference else [],
        carrier=lambda: has_carrier(adapter()),
        probe_ms=section.probe_ms,
        reference_ms=section.reference_ms,
    )


def _witness(current: Callable[[], Config], section: WitnessSection) -> WitnessSettings:
    config = current()
    return WitnessSettings(
        cluster=config.node.cluster,
        node=config.node.name,
        endpoints=section.endpoints,
        keys=Keys(keyfile.load(keyfile.locate(section.key_file or config.node.key_file))),
        timeout_ns=config.arbiter.timeout_ms * NS_PER_MS,
        lease_ns=config.arbiter.solo_lease_ns,
        strict=lambda: len(current().peer) > 1,
    )


def change_keys(settings: Settings, witness: keyfile.KeyRing | None) -> None:
    """Let an open client use other keys that its witness has."""
    if isinstance(settings, WitnessSettings) and witness is not None:
        settings.keys.change(witness)


def _etcd(config: Config, section: EtcdSection) -> EtcdSettings:
    def path(name: str | None) -> Path | None:
        return None if name is None else Path(name)

    return EtcdSettings(
        endpoints=section.endpoints,
        prefix=section.prefix,
        cluster=config.node.cluster,
        node=config.node.name,
        lease_s=config.arbiter.lease_ms // 1000,
        drift_ppm=config.arbiter.drift_ppm,
        timeout_ns=config.arbiter.timeout_ms * NS_PER_MS,
        tls=TlsFiles(path(section.ca_file), path(section.cert_file), path(section.key_file)),
        login=_login(section),
    )


def _login(section: EtcdSection) -> tuple[str, str] | None:
    """Return user and password; the password is the first line of its file, which nobody else may read."""
    if section.user is None or section.password_file is None:
        return None
    path = Path(section.password_file)
    try:
        mode = path.stat().st_mode & 0o777
        password = path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise ArbiterError(f"{path}: cannot be read as a password: {error}") from error
    if mode & 0o077:
        raise ArbiterError(f"{path}: mode {mode:04o} lets others read the password; do: chmod 600 {path}")
    if not password:
        raise ArbiterError(f"{path}: its first line is empty; it must be the password of {section.user!r}")
    return section.user, password
