"""The shared key of a pair: 32 bytes, in a file as 64 hexadecimal digits, readable by its owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fttcp.wire.errors import WireError

KEY_BYTES = 32


def load(path: Path) -> bytes:
    """Return the key in ``path``. Raises WireError with what to do if the file will not serve."""
    try:
        with path.open("r", encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(4096)
    except FileNotFoundError as error:
        raise WireError(f"{path}: no key file; make one with: fttcp keygen {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise WireError(f"{path}: cannot be read as a key: {error}") from error
    if mode & 0o077:
        raise WireError(f"{path}: mode {mode:04o} lets others read the key; do: chmod 600 {path}")
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise WireError(f"{path}: not hexadecimal; expected {2 * KEY_BYTES} hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise WireError(
            f"{path}: {len(key)} bytes; expected {KEY_BYTES} ({2 * KEY_BYTES} hexadecimal digits)"
        )
    return key


def generate(path: Path) -> None:
    """Write a new random key to ``path`` (mode 0600). Raises WireError if the file exists."""
    text = os.urandom(KEY_BYTES).hex() + "\n"
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise WireError(f"{path}: exists; a key is never overwritten, remove the file first") from error
    except OSError as error:
        raise WireError(f"{path}: cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
