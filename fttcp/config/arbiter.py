"""[arbiter] of the configuration: who decides when the nodes cannot hear each other."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from fttcp.config.endpoint import not_to_ask_at, parse_endpoint

Word = Annotated[str, Meta(min_length=1)]
_S = 1000
_LEAST_ETCD_LEASE_MS = 2000


class NoneSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[arbiter.none]: how the service network is asked. ``probe_ms`` 0: addresses are not probed."""

    probe_ms: Annotated[int, Meta(ge=0, le=1000)] = 3
    reference_ms: Annotated[int, Meta(ge=5, le=10_000)] = 100


class WitnessSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[arbiter.witness]: where the one witness is, and the key shared with it (none: node.key_file)."""

    addresses: Annotated[list[Word], Meta(min_length=1, max_length=8)]
    key_file: Word | None = None

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """Its addresses and ports."""
        return [parse_endpoint(text) for text in self.addresses]


class EtcdSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[arbiter.etcd]: the members of the cluster, and how they know this node."""

    endpoints: Annotated[list[Word], Meta(min_length=1, max_length=16)]
    prefix: Annotated[
        str,
        Meta(
            pattern=r"^/[!-~]{0,200}[!-.0-~]$",
            description="2 to 202 visible ASCII characters that begin with / and end with another one",
        ),
    ] = "/fttcp"
    ca_file: Word | None = None
    cert_file: Word | None = None
    key_file: Word | None = None
    user: Word | None = None
    password_file: Word | None = None


class ArbiterSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[arbiter]. ``lease_ms``: how long the arbiter leaves the group to a node that serves alone."""

    kind: Literal["none", "witness", "etcd"] = "none"
    timeout_ms: Annotated[int, Meta(ge=20, le=60_000)] = 500
    lease_ms: Annotated[int, Meta(ge=500, le=600_000)] = 3000
    drift_ppm: Annotated[int, Meta(ge=0, le=100_000)] = 1000
    none: NoneSection | None = None
    witness: WitnessSection | None = None
    etcd: EtcdSection | None = None

    @property
    def solo_lease_ns(self) -> int:
        """The lease in nanoseconds; 0 when nobody counts one."""
        return 0 if self.kind == "none" else self.lease_ms * 1_000_000


def _check_tables(section: ArbiterSection, errors: list[str]) -> None:
    for kind in ("none", "witness", "etcd"):
        given = getattr(section, kind) is not None
        if kind == section.kind and not given and kind != "none":
            errors.append(f"arbiter.{kind}: missing (required by arbiter.kind = {kind!r})")
        elif kind != section.kind and given:
            errors.append(f"arbiter.{kind}: not read while arbiter.kind is {section.kind!r}: remove it")


def _check_times(section: ArbiterSection, errors: list[str]) -> None:
    if section.kind != "none" and section.timeout_ms > section.lease_ms // 3:
        errors.append(
            f"arbiter.timeout_ms: {section.timeout_ms} is above a third of lease_ms "
            f"(allowed: 20..{section.lease_ms // 3}): a late answer must leave time to ask again"
        )
    if section.kind == "etcd" and (section.lease_ms % _S or section.lease_ms < _LEAST_ETCD_LEASE_MS):
        errors.append(
            f"arbiter.lease_ms: {section.lease_ms} does not suit etcd, which counts whole seconds "
            f"(allowed: {_LEAST_ETCD_LEASE_MS}, 3000, ..)"
        )


def _check_witness(section: ArbiterSection, errors: list[str]) -> None:
    seen: dict[tuple[str, int], int] = {}
    for i, text in enumerate(section.witness.addresses if section.witness is not None else ()):
        where = f"arbiter.witness.addresses[{i}]"
        try:
            endpoint = parse_endpoint(text)
        except ValueError as error:
            errors.append(f"{where}: {error}")
            continue
        why = not_to_ask_at(ip_address(endpoint[0]))
        if why:
            errors.append(f"{where}: {text!r}: {why} (allowed: an address of the witness's host)")
        if seen.setdefault(endpoint, i) != i:
            errors.append(
                f"{where}: {text!r} is arbiter.witness.addresses[{seen[endpoint]}] as well: remove one "
                "(these are ways to one witness)"
            )


def _check_etcd_endpoints(section: ArbiterSection, errors: list[str]) -> None:
    if section.etcd is None:
        return
    for i, text in enumerate(section.etcd.endpoints):
        if etcd_host(text) is None:
            errors.append(
                f"arbiter.etcd.endpoints[{i}]: {text!r} is not an endpoint (allowed: https://HOST:2379)"
            )
        elif text.rstrip("/") in [other.rstrip("/") for other in section.etcd.endpoints[:i]]:
            errors.append(f"arbiter.etcd.endpoints[{i}]: {text!r} stands there twice: remove one")
    if len(_schemes(section.etcd)) > 1:
        errors.append("arbiter.etcd.endpoints: http and https mixed: use one of them for all members")


def _check_etcd_files(section: ArbiterSection, errors: list[str]) -> None:
    etcd = section.etcd
    if etcd is None:
        return
    files = {"ca_file": etcd.ca_file, "cert_file": etcd.cert_file, "key_file": etcd.key_file}
    for key, name in (files | {"password_file": etcd.password_file}).items():
        if name is not None and not str(name).startswith("/"):
            errors.append(f"arbiter.etcd.{key}: {name!r} is not an absolute path")
    if (etcd.cert_file is None) != (etcd.key_file is None):
        errors.append("arbiter.etcd.cert_file and key_file: one without the other")
    if (etcd.user is None) != (etcd.password_file is None):
        errors.append("arbiter.etcd.user and password_file: one without the other")
    if any(files.values()) and "https" not in _schemes(etcd):
        given = ", ".join(key for key, name in files.items() if name)
        errors.append(f"arbiter.etcd.{given}: of no use without https endpoints")


def etcd_host(text: str) -> str | None:
    """Return the host of an endpoint; None if it is none."""
    try:
        url = urlsplit(str(text))
        host, port = url.hostname, url.port
    except ValueError:  # brackets, or a port that there is not
        return None
    good = url.scheme in ("http", "https") and url.path in ("", "/") and not (url.query or url.fragment)
    return host if good and port != 0 else None


def _schemes(etcd: EtcdSection) -> set[str]:
    return {text.partition("://")[0].lower() for text in etcd.endpoints if etcd_host(text) is not None}


ARBITER_CHECKS = (_check_tables, _check_times, _check_witness, _check_etcd_endpoints, _check_etcd_files)
"""What spans several values of [arbiter]; each notes what is wrong."""
