"""The memory that a group's engine and its server share, so that both copies of the server draw the same
random numbers, and how a server is started with the library that reads it.

The file is laid out in native/core/lockstep/lockstep.h. It outlives the daemon: a server that goes on has it
mapped.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from fttcp import _numbers
from fttcp.config import Config, GroupSection
from fttcp.server.procfs import family
from fttcp.wire.keyfile import KeyRing

LIBRARY = Path(__file__).parents[1] / "libfttcp-shim.so"
PLACE = "FTTCP_LOCKSTEP"
"""The variable of the server's environment that names the file."""
MAX_PATH = 107
_SUFFIX = ".lockstep"
_PRELOAD = "LD_PRELOAD"
_MAGIC = 0x3570657473636F6C
_BY_ADDRESS = 1
_PAGE = 4096
_ROW = 512
_MIN_ROWS, _MAX_ROWS = 1024, 1 << 20
_HEAD = struct.Struct("<QIIII32sq")
_SECRET = 32
_COUNTS = struct.Struct("<8Q")
_STRANGER = struct.Struct("<16s16sHHIQ")
_STRANGERS_AT, _STRANGERS = 128, 32
_OUTWARD_AT, _OUTWARDS = _STRANGERS_AT + _STRANGERS * _STRANGER.size, 8
_OPENS = struct.Struct("<III")
_OPENS_NONE = bytes(_OPENS.size)
_OPENS_AT = _OUTWARD_AT + _OUTWARDS * _STRANGER.size
_PORTS = struct.Struct("<HH")
_NAMES = ("of_connections", "at_start", "without", "accepted", "unknown", "outward", "bound")


class LockstepError(OSError):
    """The shared memory cannot be made; the sentence says why."""


def place(config: Config, section: GroupSection) -> Path | None:
    """Return where the file of a group is; None if its servers do not draw in step."""
    return config.run_dir / f"{section.name}{_SUFFIX}" if section.lockstep == "connection" else None


def environment(file: Path, of: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what a server's environment needs; ``of``: the one that it is added to."""
    others = of.get(_PRELOAD, "")
    return {_PRELOAD: f"{LIBRARY} {others}".rstrip(), PLACE: str(file)}


def prepare(config: Config, section: GroupSection, keys: KeyRing) -> None:
    """Make the file of a group, or take the one that is there, if servers are to be kept in step. Raises
    LockstepError."""
    file = place(config, section)
    if file is None:
        _remove(config.run_dir / f"{section.name}{_SUFFIX}")
        return
    if not LIBRARY.exists():
        raise LockstepError(f"lockstep: {LIBRARY} is missing: run make build")
    rows = _rows(section.limits.max_flows)
    mode = 0o600 if section.all_commands else 0o660
    make(file, _start_secret(config, section, keys), section.workers, rows, 0, mode, _opens(section))


def change_keys(config: Config, keys: KeyRing) -> None:
    """Let servers that start from now on draw from these keys; a file that is gone is not made again."""
    for section in config.group:
        file = place(config, section)
        if file is not None and (shape := _shape(file)) is not None:
            with file.open("r+b") as there:
                there.seek(_secrets_at(*shape[-2:]))
                there.write(_start_secret(config, section, keys))


def _start_secret(config: Config, section: GroupSection, keys: KeyRing) -> bytes:
    label = f"fttcp lockstep {config.node.cluster} {section.name}".encode()
    return hashlib.blake2b(label, digest_size=32, key=keys.sending).digest()


def _opens(section: GroupSection) -> bytes:
    """What servers' connections to others are looked at by: struct ftt_ls_opens."""
    addresses = [
        (IPv6Address(f"::ffff:{address}") if address.version == 4 else address).packed
        for address in section.ip_addresses
    ]
    ports = [_PORTS.pack(first, last) for first, last, _ in section.opened_ports]
    head = _OPENS.pack(section.opens_bind, len(addresses), len(ports))
    return head + b"".join(addresses).ljust(_numbers.MAX_ADDRS * 16, b"\0") + b"".join(ports)


def make(
    file: Path,
    secret: bytes,
    tables: int,
    rows: int,
    flags: int,
    mode: int,
    opens: bytes = bytes(_OPENS.size),
) -> None:
    """Make such a file, for its owner only (or its group as well, by ``mode``). One of the same shape is
    kept, since servers may have it mapped. Raises LockstepError."""
    at = _secrets_at(tables, rows)
    size = at + (1 + tables * rows) * _SECRET
    head = _HEAD.pack(_MAGIC, flags, tables, rows, 0, secrets.token_bytes(32), time.time_ns())
    try:
        if _shape(file) == (size, _MAGIC, flags, tables, rows):
            with file.open("r+b") as old:
                os.fchmod(old.fileno(), mode)
                old.seek(_OPENS_AT)
                old.write(opens)
                old.seek(at)
                old.write(secret)
            return
        draft = file.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "r+b") as new:
            os.fchmod(descriptor, mode)
            os.posix_fallocate(descriptor, 0, size)  # later there might be no room, and no way to say so
            new.write(head)
            new.seek(_OPENS_AT)
            new.write(opens)
            new.seek(at)
            new.write(secret)
        with contextlib.suppress(FileNotFoundError):
            _wipe(file)
        draft.replace(file)
    except OSError as error:
        raise LockstepError(f"lockstep: {file}: {error.strerror} ({size >> 20} MiB are needed)") from error


def _wipe(file: Path) -> None:
    """Take the secrets out of a file that is in use no more. It keeps its size, for servers may have it
    mapped; where nothing was written nothing is."""
    with file.open("r+b", buffering=0) as old:
        at, end = _HEAD.size, os.fstat(old.fileno()).st_size
        while at < end:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # no data from here on
                    raise
                return
            hole = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            at += os.pwrite(old.fileno(), bytes(min(hole - at, 1 << 20)), at)


def _remove(file: Path) -> None:
    """Remove the file of a group that is not kept in step any more."""
    try:
        _wipe(file)
        file.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        raise LockstepError(f"lockstep: {file}: {error.strerror}") from error


def remove_others(config: Config) -> None:
    """Remove the files of groups that there are no more, with their secrets. Raises LockstepError."""
    known = {section.name for section in config.group}
    for file in config.run_dir.glob(f"*{_SUFFIX}"):
        if file.name.removesuffix(_SUFFIX) not in known:
            _remove(file)


def make_for_comparison(file: Path) -> None:
    """Make a file for copies of a server without engines, to be thrown away after one run: connections are
    known by their clients' addresses. Give each copy one of its own, of the same bytes. Raises
    LockstepError."""
    make(file, secrets.token_bytes(32), 1, 1 << 16, _BY_ADDRESS, 0o600)


def _secrets_at(tables: int, rows: int) -> int:
    """Where the secrets begin, on a page of their own: the start's, and one for each row."""
    return -(-(_PAGE + tables * rows * _ROW) // _PAGE) * _PAGE


def _rows(flows: int) -> int:
    """As many again as flows, so that hardly any bucket is ever full."""
    rows = _MIN_ROWS
    while rows < 2 * flows and rows < _MAX_ROWS:
        rows *= 2
    return rows


def _shape(file: Path) -> tuple[int, ...] | None:
    try:
        with file.open("rb") as there:
            magic, flags, tables, rows, *_ = _HEAD.unpack(there.read(_HEAD.size))
            return (os.fstat(there.fileno()).st_size, magic, flags, tables, rows)
    except (FileNotFoundError, struct.error):
        return None


# ------------------------------------------------------------------ what people are told


def shown(file: Path, leaders: Sequence[int]) -> dict[str, Any]:
    """Return what ``status`` tells: in which of the server's processes the library is, what was drawn, the
    connections that were accepted last and have no identity, and those that were opened last from another
    address than the service's. ``leaders``: its main processes."""
    found = {pid: _looked_at(pid, file) for pid in family(leaders)}
    shown: dict[str, Any] = {
        "file": str(file),
        "library": str(LIBRARY),
        "inside": sorted(pid for pid, seen in found.items() if seen == "inside"),
        "outside": sorted(pid for pid in leaders if found[pid] == "outside"),
        "hidden": sorted(pid for pid, seen in found.items() if seen == "hidden"),
    }
    try:
        return shown | _counted(file)
    except OSError:  # removed, or cut short: a restart of the daemon makes another one
        return shown | {"drawn": None, "strangers": [], "outward": []}


def _looked_at(pid: int, file: Path) -> str:
    """Tell whether a process has this very file mapped: `inside`, `outside`; `hidden`: it is another user's,
    and not ours to look at; `gone`."""
    try:
        number = str(file.stat().st_ino)
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except PermissionError:
        return "hidden"
    except OSError:
        return "gone"
    mapped = any(line.split(maxsplit=5)[4:] == [number, str(file)] for line in lines)
    return "inside" if mapped else "outside"


def _counted(file: Path) -> dict[str, Any]:
    with file.open("rb") as there:
        page = there.read(_PAGE)
    if len(page) < _PAGE:
        raise LockstepError(f"lockstep: {file} was cut short")
    counts = _COUNTS.unpack_from(page, _HEAD.size)
    return {
        "drawn": dict(zip(_NAMES, counts, strict=False)),
        "strangers": [
            {"client": remote, "service": local, "pid": pid}
            for remote, local, pid in _latest(page, _STRANGERS_AT, _STRANGERS)
        ],
        "outward": [
            {"from": local, "to": remote, "pid": pid}
            for remote, local, pid in _latest(page, _OUTWARD_AT, _OUTWARDS)
        ],
    }


def _latest(page: bytes, at: int, count: int) -> Iterator[tuple[str, str, int]]:
    """Yield both ends of connections, and a process, the last ones first."""
    noted = [_STRANGER.unpack_from(page, at + i * _STRANGER.size) for i in range(count)]
    for remote, local, port, own, pid, _ in sorted(
        (one for one in noted if one[-1]), key=lambda one: one[-1], reverse=True
    ):
        yield f"{_address(remote)}:{port}", f"{_address(local)}:{own}", pid


def _address(raw: bytes) -> str:
    address = IPv6Address(raw)
    return str(address.ipv4_mapped or f"[{address}]")
