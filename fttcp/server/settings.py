"""The shape of [group.health], [group.restart], [group.hooks] and [reference] in the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Word = Annotated[str, Meta(min_length=1)]
Percent = Annotated[int, Meta(ge=0, le=100)]
Milliseconds = Annotated[int, Meta(ge=10, le=3_600_000)]
Count = Annotated[int, Meta(ge=1, le=1000)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Action = Literal["ignore", "warn", "failover", "restart"]
"""What a failed check costs: nothing; a warning; the role; the role, and the server is begun anew."""


class ProbeSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[group.health.probe]]: one question that is asked of the local server again and again."""

    type: Literal["tcp", "http", "udp", "exec"]
    name: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$",
                description="1 to 32 of letters, digits, _ . -, of which the first is a letter or digit",
            ),
        ]
        | None
    ) = None
    address: Word | None = None
    port: Port | None = None
    interval_ms: Milliseconds = 1000
    timeout_ms: Milliseconds = 1000
    rise: Count = 2
    fall: Count = 3
    action: Action = "failover"
    request: str | None = None
    expect: Word | None = None
    path: Annotated[str, Meta(pattern=r"^/\S*$", description="a path that begins with /, no spaces")] = "/"
    host: Word | None = None
    tls: bool = False
    status: list[Annotated[int, Meta(ge=100, le=599)]] = []
    command: Word | None = None
    exit_status: Annotated[int, Meta(ge=0, le=255)] = 0


class HealthSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.health]: what is looked at without asking the server; 0 per cent or MiB switches a check off."""

    hang_action: Action = "restart"
    stall_after_ms: Milliseconds = 5000
    stall_action: Action = "warn"
    backlog_after_ms: Milliseconds = 2000
    backlog_action: Action = "warn"
    memory_limit_mib: Annotated[int, Meta(ge=1, le=2**24)] | None = None
    memory_percent: Percent = 90
    memory_action: Action = "warn"
    host_available_mib: Annotated[int, Meta(ge=0, le=2**24)] = 0
    host_available_action: Action = "warn"
    fd_percent: Percent = 90
    fd_action: Action = "warn"
    resources_interval_ms: Milliseconds = 1000
    probe: Annotated[list[ProbeSection], Meta(max_length=16)] = []


class RestartSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.restart]: when a supervised server that ended is started again."""

    policy: Literal["always", "on-failure", "never"] = "always"
    delay_ms: Annotated[int, Meta(ge=0, le=600_000)] = 100
    delay_most_ms: Annotated[int, Meta(ge=0, le=3_600_000)] = 10_000
    limit: Annotated[int, Meta(ge=0, le=1000)] = 0
    window_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    steady_s: Annotated[int, Meta(ge=1, le=86_400)] = 10
    stop_grace_ms: Annotated[int, Meta(ge=0, le=600_000)] = 3000
    start_within_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    watched_command: Word | None = None


class HooksSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[group.hooks]: programs that are run at turns of a server's or a role's life."""

    before_start: Word | None = None
    after_stop: Word | None = None
    ready_to_follow: Word | None = None
    on_takeover: Word | None = None
    on_demotion: Word | None = None
    checkpoint: Word | None = None
    restore: Word | None = None
    wait_for: Word | None = None
    timeout_ms: Milliseconds = 10_000


class ReferenceSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[reference]: addresses in the service network that a sound node reaches; one that answers is enough."""

    addresses: Annotated[list[Word], Meta(min_length=1, max_length=4)]
    method: Literal["icmp", "neighbour"] = "icmp"
    interval_ms: Milliseconds = 500
    timeout_ms: Milliseconds = 400
    rise: Count = 3
    fall: Count = 4
