"""Whose a history is: what its first frame says."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import struct
from dataclasses import astuple, dataclass
from pathlib import Path

from fttcp.wire.errors import WireError

_FIXED = struct.Struct(">16sQ")
_LENGTH = struct.Struct(">H")
_LONGEST = 4096
"""Of a command: more of it is not kept."""


@dataclass(frozen=True, slots=True)
class Head:
    """``life``: of the server, a number that nobody else has. ``began_ns``: by the wall clock."""

    life: bytes
    began_ns: int
    group: str
    node: str
    release: str
    build: str
    """Of the server's program: see ``build_of``; empty if nobody knows."""
    command: str
    checkpoint: str = ""
    """What the server began with; empty: with nothing."""

    def encode(self) -> bytes:
        """As in the frame."""
        texts = (text.encode()[:_LONGEST] for text in astuple(self)[2:])
        packed = (_LENGTH.pack(len(text)) + text for text in texts)
        return _FIXED.pack(self.life, self.began_ns) + b"".join(packed)


def decode(data: bytes) -> Head:
    """Read what ``encode`` made; what a later release has put behind it is not read. Raises WireError."""
    try:
        life, began_ns = _FIXED.unpack_from(data)
        at, texts = _FIXED.size, []
        for _ in range(6):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size + length
            if at > len(data):
                raise WireError("the head of the history is cut short")
            texts.append(data[at - length : at].decode(errors="replace"))
    except struct.error as error:
        raise WireError("the head of the history is cut short") from error
    return Head(life, began_ns, *texts)


def build_of(program: str) -> str:
    """Return what names the very program that a command runs: a hash of its file. Empty if it cannot be
    read. An interpreter's script is not part of it: that stands in the command."""
    path = shutil.which(program)
    try:
        with Path(path or program).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def words(command: str) -> list[str]:
    """Return a command's words, however they are quoted."""
    try:
        return shlex.split(command)
    except ValueError:
        return [command]


def unlike(head: Head, command: str, build: str, checkpoint: str = "") -> str:
    """Say why a server is not the one that this history is of; empty if it is."""
    if words(head.command) != words(command):
        return f"it is the history of another command: `{head.command}`"
    if head.build and build and head.build != build:
        return "it is the history of another build of its program"
    if head.checkpoint != checkpoint:
        return f"it goes on from {head.checkpoint or 'the start of the server'}"
    return ""
