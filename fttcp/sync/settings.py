"""The shape of [[sync]] in the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from fttcp.sync.schedule import QUIET_PATTERN, QuietHours, Timetable

Word = Annotated[str, Meta(min_length=1)]
PRIMARY_OF = "primary-of "


class SyncSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[sync]]: a directory that nodes have alike."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$",
            description="1 to 32 of letters, digits, _ -, of which the first is a letter or digit",
        ),
    ]
    directory: Annotated[
        str, Meta(pattern=r"^/.*[^/]$", description="a path that begins with /, and ends with none")
    ]
    peers: list[Word] = []
    exclude: list[Word] = []
    delete: Annotated[
        str, Meta(pattern=rf"^(never|{PRIMARY_OF}\S+)$", description="`never`, `primary-of GROUP`")
    ] = "never"
    every_s: Annotated[int, Meta(ge=5, le=86_400)] = 300
    on_change: bool = True
    bandwidth_kbyte_s: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    quiet_hours: Annotated[str, Meta(pattern=QUIET_PATTERN, description="`HH:MM-HH:MM`")] | None = None
    remote_shell: Word = (
        "ssh -o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=10 -o ServerAliveCountMax=3"
    )

    @property
    def master_of(self) -> str | None:
        """The group whose primary's deletions count."""
        return self.delete.removeprefix(PRIMARY_OF) if self.delete.startswith(PRIMARY_OF) else None

    @property
    def timetable(self) -> Timetable:
        """When it is copied. Raises ValueError if its quiet hours are no span."""
        return Timetable(
            self.every_s, None if self.quiet_hours is None else QuietHours.parse(self.quiet_hours)
        )

    def copied_to(self, peer: str) -> bool:
        """True if this peer has the directory as well."""
        return not self.peers or peer in self.peers
