"""`fttcp key`: the stages of an exchange of keys, and what they ask of the other nodes."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fttcp.cli.key import obstacles
from fttcp.cli.main import main
from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from fttcp.wire import body, keyfile
from fttcp.wire.errors import WireError
from tests.tool import Tool, scene
from tests.unit.test_wire import BODY


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["key", *map(str, words)])


def test_the_file_goes_through_all_stages_and_each_says_what_is_next(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keyfile.generate(path)
    old = keyfile.load(path).ids()[0]
    seen = []
    for verb, following in (("add", "copy this file"), ("use", "`fttcp reload`"), ("drop", "worth nothing")):
        done = run(verb, path)
        assert done.exit_code == 0 and following in done.output, done.output
        told = json.loads(run("show", path, "--json").output)
        seen.append((told["stage"], len(told["keys"]), told["sending"] == old))
    assert seen == [("added", 2, True), ("turned", 2, False), ("one key", 1, False)]
    assert path.stat().st_mode & 0o777 == 0o600
    for secret in path.read_text().split():
        assert secret not in run("show", path).output


@pytest.mark.parametrize("verb", ["use", "drop"])
def test_a_stage_out_of_turn_is_refused_for_people_and_programs(tmp_path: Path, verb: str) -> None:
    path = tmp_path / "key"
    keyfile.generate(path)
    before = path.read_bytes()
    refused = run(verb, path, "--json")
    told = json.loads(refused.output)
    assert refused.exit_code == 1 and not told["ok"] and told["reason"] == "key-file"
    assert str(path) in told["error"] and path.read_bytes() == before
    assert run(verb).exit_code == 2 and run(verb, path, "--config", path).exit_code == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_of_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keyfile.generate(path)
    os.chown(path, 65534, 65534)
    assert run("add", path).exit_code == 0
    assert (path.stat().st_uid, path.stat().st_gid, path.stat().st_mode & 0o777) == (65534, 65534, 0o600)


def keys(believed: list[str], **peers: Any) -> dict[str, Any]:
    return {"believed": believed, "sending": believed[0] if believed else None, "peers": peers}


@pytest.mark.parametrize(
    ("verb", "here", "there", "missing"),
    [
        ("use", ["old", "new"], ["old", "new"], []),
        ("use", ["old"], ["old", "new"], ["this node does not believe key new yet: `fttcp reload`"]),
        ("use", ["old", "new"], ["old"], ["beta does not believe key new yet: copy the file there"]),
        ("use", ["old", "new"], [], ["beta does not believe key new yet"]),
        ("use", ["old", "new"], None, ["beta is not heard"]),
        ("drop", ["new", "old"], ["new", "old"], []),
        ("drop", ["new", "old"], ["new"], []),
        (
            "drop",
            ["old", "new"],
            ["new", "old"],
            ["this node does not send with key new yet: `fttcp reload`"],
        ),
        ("drop", ["new", "old"], ["old", "new"], ["beta does not send with key new yet: `fttcp key use`"]),
        ("drop", ["new", "old"], None, ["beta is not heard"]),
    ],
)
def test_a_stage_waits_for_all_nodes(
    verb: str, here: list[str], there: list[str] | None, missing: list[str]
) -> None:
    group = {"name": "web", "keys": keys(here, beta=None if there is None else keys(there))}
    found = list(obstacles(verb, "new", [group]))
    assert len(found) == len(missing)
    assert all(line.startswith(part) for line, part in zip(found, missing, strict=True)), found


def test_nodes_tell_each_other_which_keys_they_believe(tmp_path: Path) -> None:
    first, second = bytes([1]) * 32, bytes([2]) * 32

    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        (tmp_path / "key").write_text(f"{first.hex()} send\n{second.hex()}\n")
        (tmp_path / "key").chmod(0o600)
        config = tmp_path / "node.toml"
        config.write_text(config.read_text().replace("/etc/fttcp/key", f"{tmp_path}/key"))
        ring = keyfile.load(tmp_path / "key")
        words = ("key", "use", "--config", str(config))

        async def refusal() -> list[str]:
            done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--json"])
            assert done.exit_code == 1, done.output
            return list(json.loads(done.output)["missing"])

        assert len(await refusal()) == 2  # neither believes it
        alpha.set_keys(ring)
        assert [line.split()[0] for line in await refusal()] == ["beta"]
        beta.set_keys(ring)
        async with asyncio.timeout(5):
            while alpha.status()["keys"]["peers"]["beta"]["believed"] != list(ring.ids()):
                await asyncio.sleep(0.01)
        done = await asyncio.to_thread(CliRunner().invoke, main, words)
        assert done.exit_code == 0, done.output
        assert keyfile.load(tmp_path / "key").stage == "turned"
        assert "being exchanged" in (await tool("status")).output

    scene(tmp_path, play)


def test_names_of_keys_travel_with_the_body() -> None:
    def keys(data: bytes) -> tuple[str, ...]:
        return body.aside_of(body.unpack(data)).key_ids

    plain, told = body.encode(BODY), body.encode(BODY, body.Aside(("00112233", "aabbccdd")))
    assert body.decode(plain) == body.decode(told) == BODY
    assert keys(plain) == () and keys(told) == ("00112233", "aabbccdd")
    with pytest.raises(WireError, match=r"body\.i"):
        keys(told.replace(b"\xc4\x08\x00", b"\xc4\x07"))
