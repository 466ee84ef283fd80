"""The shape of [[spread]] in the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fttcp.wire.ports import PATTERN as PORTS_PATTERN

Word = Annotated[str, Meta(min_length=1)]


class SpreadSection(Struct, frozen=True, forbid_unknown_fields=True):
    """[[spread]]: what is told which groups are served. Which keys a kind has: KIND_KEYS."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$",
            description="1 to 32 of letters, digits, _ -, of which the first is a letter or digit",
        ),
    ]
    kind: Literal["dns", "haproxy", "ipvs"]
    target: Word
    groups: list[Word] = []
    at: Word | None = None
    port: Annotated[str, Meta(pattern=PORTS_PATTERN, description='a port: "80/tcp"')] | None = None
    zone: Word | None = None
    ttl: Annotated[int, Meta(ge=1, le=86_400)] = 30
    key_file: Annotated[str, Meta(pattern=r"^/", description="a path that begins with /")] | None = None


KIND_KEYS = {
    "dns": (("at",), ("zone", "ttl", "key_file")),
    "haproxy": (("at",), ("port",)),
    "ipvs": ((), ("port",)),
}
"""For each kind the keys that it needs, and those that it may have."""
