"""What a file of an experiment may have: its tables and keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lab.segments import Segment as LabSegment
from lab.wire import Terms

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
NAME = r"^[a-z][a-z0-9-]{0,40}$"
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class Place(Struct, forbid_unknown_fields=True):
    """``[lab]``: what is built for each run. ``set``: settings of the group, as of ``fttcp lab up --set``."""

    nodes: Annotated[int, Meta(ge=2, le=5)] = 2
    arbiter: Literal["none", "witness", "etcd"] = "none"
    system: Literal["fttcp", "keepalived", "haproxy"] = "fttcp"
    """Who leads IPv4 clients to the servers of both nodes: the pair; keepalived, which moves an address; or
    HAProxy on a host of its own, which asks the other server when one is down."""
    set: dict[str, str | int | float | bool] = {}
    serve: list[str] = []
    """PORT/PROTO=COMMAND; none: the measuring client's own server on port 7300."""
    recipe: str = ""
    """Instead of `serve`: a ``[[server]]``, or one of ``python -m lab.probe.table --list``, with its files
    and settings."""


class Server(Struct, forbid_unknown_fields=True):
    """``[[server]]``: a server of one's own; ``lab.recipe`` names the one that a run has."""

    name: Annotated[str, Meta(pattern=NAME)]
    ports: str
    """As "80/tcp", "21/tcp,30000-30009/tcp"."""
    command: str
    """Begins in a directory with its files, one on each node; ``sh -c`` where it must know that."""
    files: str = ""
    """A directory, from the experiment's file on."""
    set: dict[str, str | int | float | bool] = {}
    """Settings of the group that it needs: ``lockstep``, ``state``, ..."""
    stream: str = ""
    """What a client with measure = "recipe" runs by sh: it prints a long download. There are $SERVICE4 and
    $PORT, and ``{files}`` is the directory of the files."""
    expect: str = ""
    """The file among `files` that `stream` is to print. None: its exit status alone says how it went."""
    proof: str = ""
    """Run by sh with the files of the server that is left: whether it has all that was sent to it."""


class Client(Struct, forbid_unknown_fields=True):
    """``[[client]]``: who speaks with the service. Either ``measure`` by our own client, or a ``command``.
    "recipe": what ``lab.recipe`` has as a long download, which has 20,000,000 bytes mostly."""

    measure: Literal["echo", "connect", "down", "up", "both", "recipe"] | None = None
    command: str | None = None
    """Run by sh in its host; the exit status, and `expect`, say whether it went well. $SERVICE4 and $SERVICE6
    are the service's addresses, $MEASURE is our own client; $RATE and $SECONDS: what the experiment says."""
    expect: str | None = None
    """What a `command` is to print."""
    host: str = "client"
    """Where it runs: "client", or a client of a segment."""
    family: Literal[4, 6] = 4
    port: Annotated[int, Meta(ge=1, le=65535)] = 7300
    at_s: NotNegative = 0
    connections: Count = 1
    bytes: Annotated[int, Meta(ge=0)] = 0
    rate: Annotated[int, Meta(ge=0)] = 0
    """Bytes per second of each connection; 0: no limit."""
    size: Annotated[int, Meta(ge=1, le=65536)] = 64
    interval_ms: NotNegative = 0
    gap_ms: Positive = 10
    bucket_ms: Annotated[float, Meta(ge=1)] = 50
    patience_s: Positive = 30
    limit_s: Positive = 300
    """How long a `command`, or one with `bytes`, may take."""


class _Way(Struct):
    """What becomes of frames on a way."""

    rate_mbit: Positive | None = None
    loss_percent: float = 0
    delay_ms: float = 0
    jitter_ms: float = 0
    reorder_percent: float = 0
    duplicate_percent: float = 0

    def terms(self) -> Terms:
        """The same, as the lab has it."""
        return Terms(
            self.delay_ms, self.jitter_ms, self.reorder_percent, self.duplicate_percent, self.loss_percent,
            self.rate_mbit,
        )  # fmt: skip


class Link(_Way, forbid_unknown_fields=True, kw_only=True):
    """``[[link]]``: what a link is like, in both directions, or ``from`` one sender. It is "client",
    "peer", or called as a client of a segment."""

    link: str
    sender: str | None = msgspec.field(name="from", default=None)

    def __post_init__(self) -> None:
        if trouble := self.terms().trouble():
            raise ValueError(trouble)


class Segment(_Way, forbid_unknown_fields=True, kw_only=True):
    """``[[segment]]``: another switch, with hosts at it; a client that is named here is made. ``by``: how it
    is reached from the first switch, where the client and all other nodes are; the rest is what that way is
    like."""

    name: str
    hosts: list[str]
    by: Literal["trunk", "router"] = "trunk"

    def of_lab(self) -> LabSegment:
        """As the lab makes it."""
        return LabSegment(self.name, self.by, tuple(self.hosts), self.terms())


class Fault(Struct, forbid_unknown_fields=True):
    """``[[fault]]``: what happens, one after the other. Its moment is ``at_s``, from the traffic's begin on,
    or ``when`` something is so: "received 40 %" of the first client's bytes, "answers 1000" of it, "synced"
    (as of ``fttcp lab wait``), or "renewed": connections are protected again. ``then_s``: so long after that.
    """

    kind: str
    target: str | None = None
    at_s: NotNegative | None = None
    when: str | None = None
    then_s: NotNegative = 0
    link: str | None = None
    percent: float | None = None
    mbit: float | None = None
    seconds: float | None = None
    act: str | None = None
    sender: str | None = msgspec.field(name="from", default=None)
    delay_ms: float | None = None
    jitter_ms: float | None = None
    reorder_percent: float | None = None
    duplicate_percent: float | None = None
    loss_percent: float | None = None
    rate_mbit: float | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what the fault is called with."""
        moment = ("kind", "at_s", "when", "then_s")
        names = (name for name in self.__struct_fields__ if name not in moment)
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class Figure(Struct, forbid_unknown_fields=True):
    """``[[figure]]``: a plot. ``value`` of kind "parameter": the column that is shown over what was swept."""

    kind: Literal["timeline", "gaps", "parameter", "waits", "lag", "sequence"]
    value: str = "longest_gap_ms"
    title: str = ""


class Study(Struct, forbid_unknown_fields=True):
    """An experiment."""

    name: Annotated[str, Meta(pattern=NAME)]
    question: str = ""
    """What it is to answer, in a sentence for readers."""
    seed: int = 1
    repetitions: Annotated[int, Meta(ge=1, le=10_000)] = 1
    seconds: Annotated[float, Meta(gt=0, le=86_400)] = 4
    """How long clients send."""
    capture: list[Literal["client", "peer"]] = []
    server: list[Server] = []
    lab: Place = msgspec.field(default_factory=Place)
    client: Annotated[list[Client], Meta(min_length=1)] = []
    link: list[Link] = []
    segment: list[Segment] = []
    fault: list[Fault] = []
    sweep: dict[str, list[str | int | float | bool]] = {}
    figure: list[Figure] = []
