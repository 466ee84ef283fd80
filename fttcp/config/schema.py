"""The shape of the configuration file: one struct for each table, with limits and defaults."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from fttcp import _numbers
from fttcp.config.arbiter import ArbiterSection
from fttcp.config.words import NOTIFIED_EVENTS
from fttcp.server.agents.settings import ResourceSection
from fttcp.server.settings import HealthSection, HooksSection, ReferenceSection, RestartSection
from fttcp.spread.settings import SpreadSection
from fttcp.sync.settings import SyncSection
from fttcp.wire.addresses import network_of
from fttcp.wire.ports import PATTERN as PORTS_PATTERN
from fttcp.wire.ports import PortRange, parse

Name = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$",
        description="1 to 32 of letters, digits, _ . -, of which the first is a letter or digit",
    ),
]
Interface = Annotated[
    str, Meta(pattern=r"^[^\s/]{1,15}$", description="an interface's name: 1 to 15 characters, no space or /")
]
PortText = Annotated[
    str,
    Meta(pattern=PORTS_PATTERN, description='a port or a range and a protocol: "80/tcp", "8000-8099/tcp"'),
]
TcpPortText = Annotated[
    str,
    Meta(
        pattern=PORTS_PATTERN.replace("(tcp|udp)", "tcp"),
        description='ports of TCP: "25/tcp", "1024-65535/tcp"',
    ),
]
UdpPortText = Annotated[
    str,
    Meta(
        pattern=PORTS_PATTERN.replace("(tcp|udp)", "udp"),
        description='ports of UDP: "111/udp", "5000-5009/udp"',
    ),
]
Word = Annotated[str, Meta(min_length=1)]
AbsolutePath = Annotated[str, Meta(pattern=r"^/", description="a path that begins with /")]
Address = Annotated[
    str, Meta(pattern=r"^[0-9A-Za-z.:%]{1,45}$", description="an address: IPv4, IPv6, multicast or MAC")
]
Device = Annotated[
    str, Meta(pattern=r"^/[^\s]{1,62}$", description="a path of at most 63 characters, such as /dev/ttyS0")
]
U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Units = Annotated[int, Meta(ge=0, le=1_000_000)]
"""Of load, in a measure that the operator chooses."""

MAX_WORKERS = _numbers.MAX_WORKERS
"""Of a group."""
MAX_PEERS = _numbers.MAX_PEERS
"""Other nodes."""
MAX_LINKS = _numbers.MAX_LINKS
"""To each peer."""
MAX_ADDRESSES = _numbers.MAX_ADDRS
"""Of a group."""
MAX_PORTS = _numbers.MAX_PORTS
"""Of a group; a range counts as one."""
MAX_MD5 = _numbers.MAX_MD5
"""Keys of peers of a group."""
QUEUE_OUT_OFFSET = 16
"""queue_out = queue + this; so a group takes 32 queue numbers."""


class Notify(Struct, frozen=True, forbid_unknown_fields=True):
    """[node.notify]: programs of the operator that are told about events."""

    command: AbsolutePath | None = None
    events: list[Word] = field(default_factory=lambda: list(NOTIFIED_EVENTS))
    timeout_s: Annotated[int, Meta(ge=1, le=600)] = 10
    fifo: AbsolutePath | None = None


class Http(Struct, frozen=True, forbid_unknown_fields=True):
    """[node.http]: metrics and health over HTTP; off without a port."""

    address: Word = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None


class NodeSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[node]: this host."""

    name: Name
    cluster: Name
    key_file: Word
    service_interface: Interface
    peer_interface: Interface
    standby_interfaces: Annotated[list[Interface], Meta(max_length=3)] = []
    run_dir: Word = "/run/fttcp"
    state_dir: Word = "/var/lib/fttcp"
    heartbeat_port: Annotated[int, Meta(ge=1, le=65535)] = 7710
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    encrypt: bool = False
    history_kib: Annotated[int, Meta(ge=16, le=1 << 20)] = 2048
    clocks_apart_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 500
    follow_clock: bool = False
    capacity: Units | None = None
    notify: Notify = Notify()
    http: Http = Http()

    @property
    def adapters(self) -> tuple[str, ...]:
        """Where clients may come from, in the order in which they are used."""
        return (self.service_interface, *self.standby_interfaces)


class LinkSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[peer.link]] or [[link]]: a way to a peer; the first one carries mirror and commit channel, too.
    Which keys a transport has: LINK_KEYS."""

    transport: Literal["udp", "multicast", "ethernet", "serial"] = "udp"
    interface: Interface | None = None
    local: Address | None = None
    remote: Address | None = None
    remote_v6: Address | None = None
    device: Device | None = None
    baud: Literal[9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600, 1000000, 3000000] | None = None


LINK_KEYS = {
    "udp": (("interface", "local", "remote"), ("remote_v6",)),
    "multicast": (("interface", "remote"), ()),
    "ethernet": (("interface", "remote"), ()),
    "serial": (("device", "baud"), ()),
}
"""For each transport the keys that it needs and those that it may have."""

Links = Annotated[list[LinkSection], Meta(min_length=1, max_length=MAX_LINKS)]


class PeerSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[peer]]: another host that may run the groups, and the ways to it."""

    name: Name
    link: Links
    capacity: Units | None = None


class Timing(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.timing]. D, the lease, is heartbeat_ms * heartbeat_misses."""

    heartbeat_ms: Annotated[int, Meta(ge=5, le=10_000)] = 20
    heartbeat_misses: Annotated[int, Meta(ge=3, le=100)] = 5
    drift_ppm: Annotated[int, Meta(ge=0, le=100_000)] = 1000
    detach_after_ms: Annotated[int, Meta(ge=10, le=600_000)] = 2000
    output_lag_ms: Annotated[int, Meta(ge=10, le=600_000)] | None = None
    end_grace_ms: Annotated[int, Meta(ge=0, le=600_000)] = 200
    open_timeout_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    opens_wait_ms: Annotated[int, Meta(ge=10, le=60_000)] = 2000
    startup_wait_ms: Annotated[int, Meta(ge=50, le=600_000)] | None = None
    handover_wait_ms: Annotated[int, Meta(ge=0, le=20_000)] = 5000
    hang_after_ms: Annotated[int, Meta(ge=20, le=600_000)] = 500
    idle_timeout_s: Annotated[int, Meta(ge=1, le=864_000)] = 120
    udp_idle_timeout_s: Annotated[int, Meta(ge=1, le=864_000)] = 60
    announce_refresh_s: Annotated[int, Meta(ge=0, le=86_400)] = 60
    rt_priority: Annotated[int, Meta(ge=0, le=99)] = 20
    busy_poll_us: Annotated[int, Meta(ge=0, le=10_000)] = 0
    detector: Literal["fixed", "phi"] = "fixed"

    @property
    def lease_ms(self) -> int:
        """D in milliseconds."""
        return self.heartbeat_ms * self.heartbeat_misses

    @property
    def lag_ms(self) -> int:
        """How long one server's output may stay behind the other's, in milliseconds."""
        return max(self.detach_after_ms, self.output_lag_ms or 0)

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
    max_retained_bytes: Annotated[int, Meta(ge=0, le=1 << 36)] = 256 << 20
    renew_flow_bytes: Annotated[int, Meta(ge=1024, le=64 << 20)] = 256 << 10
    renew_bytes: Annotated[int, Meta(ge=65536, le=1 << 36)] = 256 << 20
    renew_spool_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 42)] = 4 << 30
    history_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 38)] = 256 << 20
    history_file_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 40)] = 1 << 30
    calls_bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 36)] = 64 << 20
    queue_maxlen: Annotated[int, Meta(ge=64, le=1_000_000)] = 65536


class Experiment(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.experiment]: make the service space differ from the local one on the node that shakes hands;
    let output go without waiting for the backup; give every packet to a Python function,
    "module:function" (the programmable engine)."""

    service_iss: U32 | None = None
    service_ts: U32 | None = None
    space_seed: U32 = 0
    strict_commit: bool = True
    callback: Word | None = None


class Md5Section(Struct, frozen=True, forbid_unknown_fields=True):
    """[[group.md5]]: the key that segments from and to a peer are signed with (TCP-MD5)."""

    peer: Word
    key_file: Word

    @property
    def network(self) -> IPv4Network | IPv6Network:
        """The addresses of the peer. Raises ValueError for what is none."""
        return network_of(self.peer)


class StoredRepliesSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.stored_replies]: requests by UDP that are executed once, and answered as often as they come."""

    ports: Annotated[list[UdpPortText], Meta(min_length=1, max_length=MAX_PORTS)]
    id_offset: Annotated[int, Meta(ge=0, le=1400)] | None = None
    id_bytes: Annotated[int, Meta(ge=1, le=_numbers.STORED_ID)] = 2
    match: Literal["payload", "id"] = "payload"
    unanswered: Literal["drop", "execute"] = "drop"
    when_full: Literal["refuse", "forget"] = "refuse"
    answer_within_ms: Annotated[int, Meta(ge=10, le=600_000)] = 10_000
    keep_s: Annotated[int, Meta(ge=1, le=604_800)] = 120
    bytes: Annotated[int, Meta(ge=1 << 20, le=1 << 36)] = 64 << 20


class GroupSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[group]]: one service."""

    name: Name
    addresses: Annotated[list[Word], Meta(min_length=1, max_length=MAX_ADDRESSES)]
    mode: Literal["connection", "address"] = "connection"
    ports: Annotated[list[PortText], Meta(max_length=MAX_PORTS)] = []
    mac: Word | None = None
    opens: Annotated[list[TcpPortText], Meta(max_length=MAX_PORTS)] = []
    opens_bind: bool = False
    command: Word | None = None
    commands: list[Word] = []
    pid_file: Word | None = None
    unit: Word | None = None
    priority: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 100
    prefer: Annotated[list[Name], Meta(max_length=MAX_PEERS + 1)] = []
    importance: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    units: Units = 1
    channel_port: Annotated[int, Meta(ge=1, le=65535 - MAX_WORKERS)] = 7710
    queue: Annotated[int, Meta(ge=0, le=65535 - 2 * QUEUE_OUT_OFFSET)] = 7700
    engine: Literal["nfqueue", "programmable"] = "nfqueue"
    workers: Annotated[int, Meta(ge=1, le=MAX_WORKERS)] = 1
    compare: bool = True
    divergence: Literal["warn", "detach"] = "warn"
    state: Literal["none", "files", "memory"] = "none"
    unverified: Literal["reset", "continue"] = "reset"
    order: Literal["flow", "service"] = "flow"
    lockstep: Literal["off", "connection", "calls"] = "off"
    renew: Literal["connections", "history", "none"] = "connections"
    standby: Literal["hot", "warm", "cold"] = "hot"
    checkpoint_every_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    renew_spool_dir: Annotated[AbsolutePath, Meta(max_length=255)] | None = None
    history_dir: AbsolutePath | None = None
    history_fsync: Annotated[str, Meta(pattern=r"^(batch|never|[1-9][0-9]{0,4}ms)$")] = "batch"
    on_worker_death: Literal["takeover", "end"] = "takeover"
    timing: Timing = Timing()
    limits: Limits = Limits()
    health: HealthSection = HealthSection()
    restart: RestartSection = RestartSection()
    hooks: HooksSection = HooksSection()
    md5: Annotated[list[Md5Section], Meta(max_length=MAX_MD5)] = []
    resource: Annotated[list[ResourceSection], Meta(max_length=64)] = []
    stored_replies: StoredRepliesSection | None = None
    experiment: Experiment = Experiment()

    @property
    def all_commands(self) -> tuple[str, ...]:
        """Every command to supervise."""
        return (*((self.command,) if self.command is not None else ()), *self.commands)

    @property
    def ip_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The service addresses."""
        return tuple(ip_address(text) for text in self.addresses)

    @property
    def port_list(self) -> tuple[PortRange, ...]:
        """The ports, parsed. Raises ValueError for one that there is not."""
        return tuple(map(parse, self.ports))

    @property
    def engine_ports(self) -> tuple[PortRange, ...]:
        """Those at which the engine decides about what clients say. Raises ValueError for one that there is
        not."""
        return self.port_list if self.stored_replies is None else tuple(map(parse, self.stored_replies.ports))

    @property
    def opened_ports(self) -> tuple[PortRange, ...]:
        """Those of other hosts to which the service connects. Raises ValueError for one that there is not."""
        return tuple(map(parse, self.opens))

    def priority_of(self, node: str) -> int:
        """Return the priority by which nodes come: ``priority``, or the place in ``prefer``, from behind."""
        if not self.prefer:
            return self.priority
        return len(self.prefer) - self.prefer.index(node) if node in self.prefer else 0


Groups = Annotated[list[GroupSection], Meta(min_length=1, max_length=64)]
Syncs = Annotated[list[SyncSection], Meta(max_length=64)]
Spreads = Annotated[list[SpreadSection], Meta(max_length=64)]


class PairName(Struct, frozen=True, forbid_unknown_fields=True):
    """[peer]: the other host of a pair."""

    name: Name
    capacity: Units | None = None


class PairFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file of a pair in its short form: [peer] and [[link]] instead of [[peer]]
    and [[peer.link]]."""

    node: NodeSection
    peer: PairName
    link: Links
    group: Groups
    reference: ReferenceSection | None = None
    arbiter: ArbiterSection = ArbiterSection()
    sync: Syncs = []
    spread: Spreads = []


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    node: NodeSection
    peer: Annotated[list[PeerSection], Meta(min_length=1, max_length=MAX_PEERS)]
    group: Groups
    reference: ReferenceSection | None = None
    arbiter: ArbiterSection = ArbiterSection()
    sync: Syncs = []
    spread: Spreads = []

    @property
    def run_dir(self) -> Path:
        """Where the control socket and the records for clean-up are."""
        return Path(self.node.run_dir)

    @property
    def socket_path(self) -> Path:
        """The control socket."""
        return self.run_dir / "control.sock"
