"""What C and Python both spell out is the same, byte by byte and name by name."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from fttcp._native import ffi
from fttcp.group import lockstep
from fttcp.planes import mirror, nfqueue
from fttcp.planes.base import EngineSettings, LinkAddress, PeerKey, PeerSettings, StoredSettings
from fttcp.wire.keyfile import KeyRing, key_id

ROOT = Path(__file__).parents[2]
SECRET = bytes(range(32))
CLUSTER = 0x0102030405060708
PADDING = {"pad", "pad1"}
NOT_OF_THE_SETTINGS = {*PADDING, "hooks"}  # a plane gives them


def of_c(tmp_path: Path, header: str, *expressions: str) -> list[int]:
    """What these are, as a compiler sees them."""
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({one}));\n' for one in expressions)
    program = f'#include <stddef.h>\n#include <stdio.h>\n#include "{header}"\nint main(void) {{\n{lines}}}\n'
    (tmp_path / "numbers.c").write_text(program)
    compiler = [*os.environ.get("CC", "cc").split(), "-std=gnu11", f"-I{ROOT}/native", "numbers.c"]
    subprocess.run([*compiler, "-o", "numbers", "-lsodium"], cwd=tmp_path, check=True)
    told = subprocess.run([tmp_path / "numbers"], check=True, capture_output=True, text=True).stdout
    return [int(line) for line in told.split()]


def offsets(layout: struct.Struct) -> list[int]:
    """Where each value of a struct begins."""
    single: list[str] = []
    for count, kind in re.findall(r"(\d*)([a-zA-Z])", layout.format):
        single += [count + kind] if kind == "s" else [kind] * int(count or 1)
    return [struct.calcsize("<" + "".join(single[:i])) for i in range(len(single))]


def test_the_memory_that_is_shared_with_servers(tmp_path: Path) -> None:
    header = ["magic", "flags", "tables", "rows", "admits", "bucket_secret", "made_ns"]
    stranger = ["who.remote", "who.local", "who.remote_port", "who.local_port", "pid", "number"]
    found = of_c(
        tmp_path,
        "core/lockstep/lockstep.h",
        *("FTT_LS_MAGIC", "FTT_LS_BY_ADDRESS", "FTT_LS_PAGE", "FTT_LS_SECRET", "FTT_LS_STRANGERS"),
        *("sizeof(struct ftt_ls_row)", "FTT_LS_MOST_ROWS", "offsetof(struct ftt_ls_header, count)"),
        *("offsetof(struct ftt_ls_header, stranger)", "sizeof(struct ftt_ls_stranger)", "FTT_LS_COUNTS"),
        *(f"offsetof(struct ftt_ls_header, {name})" for name in header),
        *(f"offsetof(struct ftt_ls_stranger, {name})" for name in stranger),
        *(f"FTT_LS_{name.upper()}" for name in lockstep._NAMES),
    )
    ours = [
        *(lockstep._MAGIC, lockstep._BY_ADDRESS, lockstep._PAGE, lockstep._SECRET, lockstep._STRANGERS),
        *(lockstep._ROW, lockstep._MAX_ROWS, lockstep._HEAD.size),
        *(lockstep._STRANGERS_AT, lockstep._STRANGER.size, lockstep._COUNTS.size // 8),
        *offsets(lockstep._HEAD),
        *offsets(lockstep._STRANGER),
        *range(len(lockstep._NAMES)),
    ]
    assert ours == found


def test_the_probes_of_the_mirror(tmp_path: Path) -> None:
    names = ("PAD", "DATAGRAM", "WAY_SHIFT", "LAST_WAY", "TARGET_BITS")
    found = of_c(tmp_path, "core/records/mirror_probe.h", *(f"FTT_PROBE_{name}" for name in names))
    assert found == [
        *(len(mirror.PAD), mirror.DATAGRAM, mirror._WAY_SHIFT, mirror._LAST_WAY, mirror._NUMBER_BITS)
    ]
    assert mirror.TARGETS_MAX == 1 << mirror._NUMBER_BITS


def vector(name: str) -> bytes:
    """The bytes of a file in tests/vectors."""
    lines = (ROOT / "tests/vectors" / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line for line in lines if not line.startswith("#")))


def test_the_vectors_are_those_that_are_made(tmp_path: Path) -> None:
    maker = tmp_path / "make.py"
    maker.write_bytes((ROOT / "tests/vectors/make.py").read_bytes())
    subprocess.run([sys.executable, maker], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.glob("*.hex")}
    assert len(made) > 20
    assert made == {name: (ROOT / "tests/vectors" / name).read_bytes() for name in made}


def test_a_probe_is_the_one_in_the_vectors() -> None:
    data = vector("mirror-probe")
    (number,) = struct.unpack_from(">Q", data, len(mirror.PAD))
    assert mirror.PAD + mirror.payload(SECRET, CLUSTER, number) == data


def test_a_key_has_the_name_that_heartbeats_bear() -> None:
    assert vector("heartbeat")[8:12].hex() == key_id(SECRET)


def settings() -> EngineSettings:
    """Settings of which each is something else than nothing."""
    made: dict[str, Any] = {}
    kinds = get_type_hints(EngineSettings)
    for field in fields(EngineSettings):
        kind = kinds[field.name]
        made[field.name] = {int: 3, bool: True, str: "x"}.get(kind, field.default)
    link = LinkAddress("x", "x", "x", baud=3, device="x")
    made |= {"keys": KeyRing((SECRET,)), "peers": (PeerSettings(3, (link,)),), "strict_commit": False}
    made |= {"service_addresses": ("10.0.0.1",), "service_iss": 3, "service_ts": 3}
    made |= dict.fromkeys(("ports", "opens"), ((3, 4, "tcp"),))
    made |= {"md5": (PeerKey("10.0.0.1", 32, b"x"),), "service_mac": b"\2\0\0\0\0\1"}
    made["stored"] = StoredSettings("/tmp/x", 3, 3, 3, 3, 3, by_id=True, again=True, go_on=True)
    assert MISSING not in made.values()
    return EngineSettings(**made)


def empty(value: Any) -> Iterator[str]:
    """Fields of a C struct, at any depth, that hold nothing; of arrays the first entry counts."""
    for name, field in ffi.typeof(value).fields:
        if name in NOT_OF_THE_SETTINGS:
            continue
        one, kind = getattr(value, name), field.type
        while kind.kind == "array" and kind.item.cname not in ("char", "uint8_t"):
            one, kind = one[0], kind.item
        if kind.kind == "struct":
            yield from (f"{name}.{inner}" for inner in empty(one))
        elif not (any(bytes(ffi.buffer(one))) if kind.kind == "array" else one):
            yield name


def test_every_field_of_the_engines_configuration_is_filled() -> None:
    """A setting that C knows and Python forgets to hand over would be 0, and nobody would see it."""
    config = nfqueue._config(settings())
    assert set(empty(config[0])) == {"peer.link.transport", "keys.send"}  # UDP is 0, and so is the first key


def test_of_peers_keys_the_longest_prefix_comes_first() -> None:
    peers = [
        PeerKey("::", 0, b"d"),
        PeerKey("10.0.0.0", 8, b"c"),
        PeerKey("10.0.0.1", 32, b"a"),
        PeerKey("fd77::", 110, b"b"),
    ]
    config = nfqueue._config(replace(settings(), md5=tuple(peers)))
    told = [(slot.prefix, bytes(ffi.buffer(slot.key))[: slot.len]) for slot in config.md5[0 : config.n_md5]]
    assert told == [(128, b"a"), (110, b"b"), (104, b"c"), (0, b"d")]
    assert b"secret" not in repr(replace(settings(), md5=(PeerKey("::", 0, b"secret"),))).encode()


@pytest.mark.parametrize("name", ["_MAGIC", "_ROW"])
def test_another_layout_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(lockstep, name, getattr(lockstep, name) + 1)
    with pytest.raises(AssertionError):
        test_the_memory_that_is_shared_with_servers(tmp_path)
