"""The shared keys of a cluster's nodes, in a file that only its owner can read.

One key a line, as 64 hexadecimal digits; ``#`` begins a comment. Whatever is made with any of the keys
is believed. One is sent with: the only one, or the one with the word ``send`` behind it.

Keys are exchanged in three stages, each to be finished on every node before the next begins: `add` (all
believe the new key, too), `turn` (all send with it), `drop` (the old one is forgotten). A node that
was forgotten at any stage is heard all the same until the next.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fttcp import _numbers
from fttcp.wire.errors import WireError
from fttcp.wire.files import sync_directory

KEY_BYTES = 32
KEY_ID_BYTES = 4
MAX_KEYS = _numbers.MAX_KEYS
"""As many as an engine knows at once."""
MAX_PASSWORD = _numbers.MD5_KEY_MAX
"""Bytes of a key that a TCP peer signs with: Linux takes no longer ones."""
_SEND = "send"
_CREDENTIAL = "credential:"
_HEADER = "# Keys of fttcp: all of them are believed. One is sent with: the only one, or the one marked.\n"


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """Keys that are believed, and the index of the one that is sent with."""

    keys: tuple[bytes, ...]
    send: int = 0

    @property
    def sending(self) -> bytes:
        """The key that is sent with."""
        return self.keys[self.send]

    @property
    def sending_first(self) -> tuple[bytes, ...]:
        """All keys, beginning with the one that is sent with."""
        return (self.sending, *(key for i, key in enumerate(self.keys) if i != self.send))

    @property
    def stage(self) -> str:
        """Where in an exchange of keys this is: ``one key``, ``added`` or ``turned``."""
        if len(self.keys) == 1:
            return "one key"
        return "turned" if self.send == len(self.keys) - 1 else "added"

    def __str__(self) -> str:
        """Return the keys' names, the one that is sent with marked."""
        names = self.ids()
        return ", ".join(f"{name} ({_SEND})" if i == self.send else name for i, name in enumerate(names))

    def ids(self) -> tuple[str, ...]:
        """Names of the keys, as in heartbeats' headers: they tell nothing about the keys."""
        return tuple(key_id(key) for key in self.keys)


def key_id(key: bytes) -> str:
    """Return the name of a key in eight hexadecimal digits; see ftt_beat_key_id() in beat_wire.h."""
    return hashlib.blake2b(b"fttcp key id", digest_size=16, key=key).hexdigest()[: 2 * KEY_ID_BYTES]


def is_credential(name: str) -> bool:
    """Tell ``credential:NAME``, which systemd hands to a unit, from a path."""
    return name.startswith(_CREDENTIAL)


def locate(name: str) -> Path:
    """Return the file that ``key_file`` names. Raises WireError if this process was not given it."""
    if not is_credential(name):
        return Path(name)
    wanted, directory = name.removeprefix(_CREDENTIAL), os.environ.get("CREDENTIALS_DIRECTORY")
    if not wanted or "/" in wanted or wanted in (".", ".."):
        raise WireError(f"{name!r} names no credential; expected {_CREDENTIAL}NAME")
    if directory is None:
        raise WireError(f"{name}: this process was given none; its unit needs LoadCredential={wanted}:FILE")
    return Path(directory, wanted)


def _is_ours_alone(path: Path, mode: int) -> bool:
    """Tell whether nobody else may read the file. Of a credential systemd sees to that: the directory is the
    unit's alone, and the group's bits of the file are the mask of its ACL."""
    given = str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY")
    return not mode & (0o037 if given else 0o077)


def load(path: Path) -> KeyRing:
    """Return the keys in ``path``. Raises WireError with what to do if the file will not serve."""
    try:
        text = _read(path, f"make one with: fttcp keygen {path}").decode("ascii")
    except UnicodeDecodeError as error:
        raise WireError(f"{path}: cannot be read as a key: {error}") from error
    return _parse(path, text)


def load_password(path: Path) -> bytes:
    """Return the key that a TCP peer signs with: the only line of the file, without its end. Raises WireError
    with what to do if the file will not serve."""
    line = _read(path, "put the key that the peer has there, on one line").removesuffix(b"\n")
    if not 1 <= len(line) <= MAX_PASSWORD or b"\n" in line:
        raise WireError(f"{path}: expected one line of 1 to {MAX_PASSWORD} bytes")
    return line


def _read(path: Path, how_to_make: str) -> bytes:
    """Return what a secret's file holds. Raises WireError."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read(4096)
    except FileNotFoundError as error:
        raise WireError(f"{path}: no key file; {how_to_make}") from error
    except OSError as error:
        raise WireError(f"{path}: cannot be read as a key: {error}") from error
    if not _is_ours_alone(path, mode):
        raise WireError(f"{path}: mode {mode:04o} lets others read the key; do: chmod 600 {path}")
    return content


def _parse(path: Path, text: str) -> KeyRing:
    keys: list[bytes] = []
    marked: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[1:] not in ([], [_SEND]):
            raise WireError(f"{path}: line {number}: a key may be followed by {_SEND!r} and nothing else")
        if words[1:]:
            marked.append(len(keys))
        keys.append(_key(path, words[0]))
    if not 1 <= len(keys) <= MAX_KEYS:
        raise WireError(f"{path}: {len(keys)} keys; expected 1 to {MAX_KEYS}, one a line")
    if len(set(keys)) < len(keys):
        raise WireError(f"{path}: a key stands there twice; remove one of the two lines")
    if len(marked) != 1 and (marked or len(keys) > 1):
        raise WireError(f"{path}: {len(marked)} keys are marked {_SEND!r}; expected one")
    return KeyRing(tuple(keys), marked[0] if marked else 0)


def _key(path: Path, text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError as error:
        raise WireError(f"{path}: not hexadecimal; expected {2 * KEY_BYTES} hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise WireError(
            f"{path}: {len(key)} bytes; expected {KEY_BYTES} ({2 * KEY_BYTES} hexadecimal digits)"
        )
    if not any(key):
        raise WireError(
            f"{path}: a key of zeros is no secret: remove the file, make a key with: fttcp keygen {path}"
        )
    return key


def generate(path: Path) -> None:
    """Write a new random key to ``path`` (mode 0600), in a directory that is made for it (mode 0700) if it is
    not there. Raises WireError if the file exists."""
    if path.is_dir():
        raise WireError(f"{path}: a directory: name the file in it")
    if path.exists():
        raise WireError(f"{path}: exists; a key is never overwritten, remove the file first")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise WireError(f"{path.parent}: this directory cannot be made: {error.strerror}") from error
    _write(path, KeyRing((os.urandom(KEY_BYTES),)), replace=False)


def add(path: Path) -> KeyRing:
    """First stage: add a new random key, which is believed, but not sent with. Raises WireError if an
    exchange is under way already."""
    ring = load(path)
    if ring.stage != "one key":
        raise WireError(f"{path}: holds {len(ring.keys)} keys: finish the exchange that is under way first")
    return _write(path, KeyRing((*ring.keys, os.urandom(KEY_BYTES)), ring.send))


def turn(path: Path) -> KeyRing:
    """Second stage: send with the newest key. Raises WireError if none was added."""
    ring = load(path)
    if ring.stage != "added":
        raise WireError(f"{path}: there is no key that was added and is not sent with yet")
    return _write(path, KeyRing(ring.keys, len(ring.keys) - 1))


def drop(path: Path) -> KeyRing:
    """Third stage: forget all keys but the one that is sent with. Raises WireError if that is not new."""
    ring = load(path)
    if ring.stage != "turned":
        raise WireError(f"{path}: the newest key is not sent with, or it is the only one: nothing to drop")
    return _write(path, KeyRing((ring.sending,)))


def _write(path: Path, ring: KeyRing, replace: bool = True) -> KeyRing:
    """Put the keys in the file's place, whole or not at all. Raises WireError."""
    lines = [
        f"{key.hex()}{f' {_SEND}' if len(ring.keys) > 1 and i == ring.send else ''}\n"
        for i, key in enumerate(ring.keys)
    ]
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                if replace:  # the daemon's user must still be able to read it
                    before = path.stat()
                    os.fchown(handle, before.st_uid, before.st_gid)
                file.write(_HEADER if len(lines) > 1 else "")
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                Path(name).replace(path)
            else:
                os.link(name, path)  # fails if somebody else made one meanwhile
        finally:
            Path(name).unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileExistsError as error:
        raise WireError(f"{path}: exists; a key is never overwritten, remove the file first") from error
    except OSError as error:
        raise WireError(f"{path}: cannot be written: {error.strerror}") from error
    return ring
