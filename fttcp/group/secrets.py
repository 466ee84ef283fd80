"""The secrets that a node has in use: what their files held when all of them were last read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from fttcp.config import Config, Md5Section
from fttcp.wire import keyfile
from fttcp.wire.keyfile import KeyRing


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """Keys of the cluster's nodes; what TCP peers sign with, by its ``key_file``; keys that a witness has, if
    there is one."""

    keys: KeyRing
    passwords: Mapping[str, bytes] = field(default_factory=dict)
    witness: KeyRing | None = None

    @classmethod
    def read(cls, config: Config) -> Self:
        """Return what all files that a configuration names hold now. Raises WireError, which says what to do,
        for one that will not serve."""
        names = {entry.key_file for group in config.group for entry in group.md5}
        passwords = {name: keyfile.load_password(keyfile.locate(name)) for name in sorted(names)}
        keys, witness = keyfile.load(keyfile.locate(config.node.key_file)), config.arbiter.witness
        if witness is None or witness.key_file is None:
            return cls(keys, passwords, keys if witness is not None else None)
        return cls(keys, passwords, keyfile.load(keyfile.locate(witness.key_file)))

    def password(self, entry: Md5Section) -> bytes:
        """Return what segments from and to a peer are signed with."""
        return self.passwords[entry.key_file]
