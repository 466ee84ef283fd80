"""What a group does and tells behind its orders to the engine, beside the machine's own late commands."""

from __future__ import annotations

from dataclasses import dataclass

from fttcp.core.model import Cause, Mode, Phase, Role


@dataclass(frozen=True, slots=True)
class Moved:
    """The machine went from one phase to another."""

    was: Phase
    role: Role
    mode: Mode
    epoch: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Stepped:
    """This node got in step with another one, or is no longer."""

    peer: str
    in_step: bool


@dataclass(frozen=True, slots=True)
class Unfit:
    """Other nodes than before wait, and are not made the backup of this primary."""

    why: dict[str, str]


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Another peer is the partner of this primary."""

    peer: int


Late = Moved | Stepped | Unfit | Mirrored
