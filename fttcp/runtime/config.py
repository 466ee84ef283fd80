"""The node's configuration file (TOML): its shape, its limits, and every error of a file at once."""

from __future__ import annotations

import difflib
import tomllib
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

Address = IPv4Address | IPv6Address

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")]
Interface = Annotated[str, Meta(pattern=r"^[^\s/]{1,15}$")]
PortText = Annotated[str, Meta(pattern=r"^[0-9]{1,5}/(tcp|udp)$")]
Word = Annotated[str, Meta(min_length=1)]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]

MAX_WORKERS = 8
QUEUE_OUT_OFFSET = 16
"""queue_out = queue + this; so a group takes 32 queue numbers."""


class ConfigError(Exception):
    """The file will not serve; ``errors`` holds one sentence for each thing that is wrong."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class NodeSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[node]: this host."""

    name: Name
    cluster: Name
    key_file: Word
    service_interface: Interface
    peer_interface: Interface
    run_dir: Word = "/run/fttcp"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class PeerSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[peer]: the other host of the pair."""

    name: Name


class LinkSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[link]]: a way to the peer; the first one carries the mirror and the commit channel."""

    interface: Interface
    local: Word
    remote: Word
    remote_v6: Word | None = None


class Timing(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.timing]. D, the lease, is heartbeat_ms * heartbeat_misses."""

    heartbeat_ms: Annotated[int, Meta(ge=5, le=10_000)] = 20
    heartbeat_misses: Annotated[int, Meta(ge=2, le=100)] = 5
    drift_ppm: Annotated[int, Meta(ge=0, le=100_000)] = 1000
    detach_after_ms: Annotated[int, Meta(ge=10, le=600_000)] = 2000
    end_grace_ms: Annotated[int, Meta(ge=0, le=600_000)] = 200
    open_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    startup_wait_ms: Annotated[int, Meta(ge=50, le=600_000)] | None = None
    hang_after_ms: Annotated[int, Meta(ge=20, le=600_000)] = 500
    idle_timeout_s: Annotated[int, Meta(ge=1, le=864_000)] = 120
    udp_idle_timeout_s: Annotated[int, Meta(ge=1, le=864_000)] = 60
    rt_priority: Annotated[int, Meta(ge=0, le=99)] = 20

    @property
    def lease_ms(self) -> int:
        """D in milliseconds."""
        return self.heartbeat_ms * self.heartbeat_misses

    @property
    def startup_ms(self) -> int:
        """How long a starting node waits for its peer, in milliseconds: at least 5 * D."""
        least = max(5 * self.lease_ms, 1000)
        return least if self.startup_wait_ms is None else self.startup_wait_ms


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.limits]: bounds of memory, per worker."""

    max_flows: Annotated[int, Meta(ge=16, le=4_000_000)] = 65536
    max_half_open: Annotated[int, Meta(ge=16, le=1_000_000)] = 4096
    max_held: Annotated[int, Meta(ge=4, le=65536)] = 1024
    max_held_total: Annotated[int, Meta(ge=16, le=1_000_000)] = 16384
    max_udp_bytes: Annotated[int, Meta(ge=4096, le=1 << 30)] = 1 << 20
    queue_maxlen: Annotated[int, Meta(ge=64, le=1_000_000)] = 65536


class Experiment(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.experiment]: make the service space differ from the local one on the node that shakes hands;
    give every packet to a Python function, "module:function" (the programmable engine)."""

    service_iss: U32 | None = None
    service_ts: U32 | None = None
    callback: Word | None = None


class GroupSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[group]]: one service."""

    name: Name
    addresses: Annotated[list[Word], Meta(min_length=1, max_length=16)]
    ports: Annotated[list[PortText], Meta(min_length=1, max_length=32)]
    command: Word | None = None
    commands: list[Word] = []
    pid_file: Word | None = None
    unit: Word | None = None
    priority: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 100
    channel_port: Annotated[int, Meta(ge=1, le=65535 - MAX_WORKERS)] = 7710
    queue: Annotated[int, Meta(ge=0, le=65535 - 2 * QUEUE_OUT_OFFSET)] = 7700
    engine: Literal["nfqueue", "programmable"] = "nfqueue"
    workers: Annotated[int, Meta(ge=1, le=MAX_WORKERS)] = 1
    compare: bool = True
    divergence: Literal["warn", "detach"] = "warn"
    timing: Timing = Timing()
    limits: Limits = Limits()
    experiment: Experiment = Experiment()

    @property
    def all_commands(self) -> tuple[str, ...]:
        """Every command to supervise."""
        return (*((self.command,) if self.command is not None else ()), *self.commands)

    @property
    def ip_addresses(self) -> tuple[Address, ...]:
        """The service addresses."""
        return tuple(ip_address(text) for text in self.addresses)

    @property
    def port_list(self) -> tuple[tuple[int, str], ...]:
        """The ports as (number, "tcp" or "udp")."""
        return tuple((int(text.partition("/")[0]), text.partition("/")[2]) for text in self.ports)


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    node: NodeSection
    peer: PeerSection
    link: Annotated[list[LinkSection], Meta(min_length=1, max_length=4)]
    group: Annotated[list[GroupSection], Meta(min_length=1, max_length=64)]

    @property
    def run_dir(self) -> Path:
        """Where the control socket and the records for clean-up are."""
        return Path(self.node.run_dir)

    @property
    def socket_path(self) -> Path:
        """The control socket."""
        return self.run_dir / "control.sock"


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError with every error in it."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error
    errors: list[str] = []
    config = _Reader(errors).table(Config, raw, "")
    if config is not None:
        _check(config, errors)
    if errors:
        raise ConfigError([f"{path}: {error}" for error in errors])
    return cast(Config, config)


class _Reader:
    """Builds structs value by value, so that one error does not hide the next."""

    def __init__(self, errors: list[str]) -> None:
        self._errors = errors

    def table(self, kind: type[Any], raw: Any, where: str) -> Any:
        """Return a struct, or None after having noted what is wrong."""
        if not isinstance(raw, dict):
            self._errors.append(f"{where}: {_shown(raw)} is not a table")
            return None
        before = len(self._errors)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        prefix = f"{where}." if where else ""
        for key in raw.keys() - fields.keys():
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(fields)}"
            self._errors.append(f"{prefix}{key}: unknown key ({hint})")
        values = {}
        for name, field in fields.items():
            if name in raw:
                values[name] = self._value(field.type, raw[name], f"{prefix}{name}")
            elif field.required:
                self._errors.append(f"{prefix}{name}: missing (required)")
        return kind(**values) if len(self._errors) == before else None

    def _value(self, kind: Any, raw: Any, where: str) -> Any:
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self.table(kind, raw, where)
        inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if get_origin(inner) is not list or not isinstance(raw, list):
            return self._convert(kind, raw, where)
        bounds = kind.__metadata__[0] if inner is not kind else Meta()
        least, most = bounds.min_length or 0, bounds.max_length
        if not least <= len(raw) <= (most or len(raw)):
            self._errors.append(f"{where}: {_count_complaint(len(raw), least, most)}")
        return [self._value(get_args(inner)[0], value, f"{where}[{i}]") for i, value in enumerate(raw)]

    def _convert(self, kind: Any, raw: Any, where: str) -> Any:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError:
            self._errors.append(f"{where}: {_complaint(kind, raw)}")
            return None


def _count_complaint(count: int, least: int, most: int | None) -> str:
    return f"{count} entries (allowed: {least}..{most or 'any number of'} entries)"


def _shown(raw: Any) -> str:
    text = repr(raw) if not isinstance(raw, bool) else str(raw).lower()
    return text if len(text) <= 80 else text[:77] + "..."


def _complaint(kind: Any, raw: Any) -> str:
    """Say what is wrong with a value and what is allowed."""
    info = msgspec.inspect.type_info(kind)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    wanted = next(option for option in options if not isinstance(option, msgspec.inspect.NoneType))
    shown = _shown(raw)
    match wanted:
        case msgspec.inspect.IntType(ge=least, le=most):
            allowed = f"(allowed: {least}..{most})"
            if type(raw) is not int:
                return f"{shown} is not an integer {allowed}"
            if least is not None and raw < least:
                return f"{shown} is below {least} {allowed}"
            return f"{shown} is above {most} {allowed}"
        case msgspec.inspect.LiteralType(values=values):
            return f"{shown} is not allowed (allowed: {', '.join(map(str, values))})"
        case msgspec.inspect.StrType(pattern=pattern):
            rule = f"text that matches {pattern}" if pattern else "text that is not empty"
            return f"{shown} is not allowed (allowed: {rule})"
        case msgspec.inspect.BoolType():
            return f"{shown} is not allowed (allowed: true, false)"
        case msgspec.inspect.ListType():
            return f"{shown} is not a list"
    return f"{shown} is not allowed"


# ---------------------------------------------------------------------- what spans several values


def _check(config: Config, errors: list[str]) -> None:
    """Note what is wrong between values, or cannot be said by a type."""
    if config.node.name == config.peer.name:
        errors.append(
            f"peer.name: {config.peer.name!r} is this node's own name (allowed: the other node's name)"
        )
    if config.link[0].interface != config.node.peer_interface:
        errors.append(
            f"link[0].interface: {config.link[0].interface!r} is not node.peer_interface "
            f"{config.node.peer_interface!r} (the first link carries the mirror)"
        )
    for i, link in enumerate(config.link):
        _check_link(link, f"link[{i}]", errors)
    for i, group in enumerate(config.group):
        _check_group(config, group, f"group[{i}]", errors)
    _check_overlaps(config, errors)


def _address(text: str, where: str, errors: list[str]) -> Address | None:
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
    addresses = [_address(text, f"{where}.addresses[{i}]", errors) for i, text in enumerate(group.addresses)]
    for i, text in enumerate(group.ports):
        if not 1 <= int(text.partition("/")[0]) <= 65535:
            errors.append(f"{where}.ports[{i}]: {text!r} has no valid port (allowed: 1..65535)")
    gateway = config.link[0]
    if any(text.endswith("/tcp") for text in group.ports):
        for version, given in ((4, _version(gateway.remote) == 4), (6, _v6_gateway(gateway) is not None)):
            if not given and any(address is not None and address.version == version for address in addresses):
                key = "remote_v6" if version == 6 else "remote"
                errors.append(
                    f"link[0].{key}: {where} has an IPv{version} address and TCP ports, so the "
                    f"peer's IPv{version} address on the peer link is needed"
                )
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
