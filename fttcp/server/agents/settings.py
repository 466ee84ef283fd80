"""The shape of [[group.resource]] in the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

Word = Annotated[str, Meta(min_length=1)]
Seconds = Annotated[int, Meta(ge=1, le=3600)]
AGENT = r"^ocf:[A-Za-z0-9][A-Za-z0-9_.-]{0,63}:[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"


class ResourceSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[group.resource]]: one of commands, a systemd unit, or an OCF agent with its parameters."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$",
            description="1 to 32 of letters, digits, _ . -, of which the first is a letter or digit",
        ),
    ]
    start: Word | None = None
    stop: Word | None = None
    status: Word | None = None
    unit: Word | None = None
    agent: (
        Annotated[str, Meta(pattern=AGENT, description="ocf:PROVIDER:TYPE, such as ocf:heartbeat:Filesystem")]
        | None
    ) = None
    parameters: dict[str, str | int | bool] = {}
    start_timeout_s: Seconds | None = None
    stop_timeout_s: Seconds | None = None
    status_timeout_s: Seconds | None = None
    interval_s: Seconds = 10

    @property
    def commands(self) -> tuple[str | None, ...]:
        """Start, stop, status."""
        return self.start, self.stop, self.status

    @property
    def kind(self) -> str:
        """What looks after it."""
        return "ocf" if self.agent is not None else "systemd" if self.unit is not None else "command"
