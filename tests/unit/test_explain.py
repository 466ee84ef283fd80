"""`fttcp explain`: the engine's own decisions about the packets of a capture."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fttcp.cli.main import main
from fttcp.explain.packets import Packet, complete, recorded
from fttcp.explain.pair import explain_node
from fttcp.explain.replay import Replay, ReplayError
from fttcp.explain.words import Words
from fttcp.wire.capture import ETHERNET, RAW_IP, USER0, CaptureError, CaptureWriter, records
from tests.replay import ROOT, run_native
from tests.unit.test_programmable_differential import pair_of

VECTOR = ROOT / "tests/vectors/takeover.pcap.gz"
"""A download, seen at the client of a lab's pair; the primary's host crashes in the middle of it. The first
160 bytes of each frame."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The capture, unpacked."""
    file = tmp_path_factory.mktemp("explain") / "takeover.pcap"
    file.write_bytes(gzip.decompress(VECTOR.read_bytes()))
    return file


@pytest.fixture(scope="module")
def entries(capture: Path) -> list[dict[str, Any]]:
    """What programs are told of it."""
    done = CliRunner().invoke(main, ["explain", str(capture), "--json"])
    assert done.exit_code == 0, done.output
    return list(json.loads(done.output)["entries"])


def effects(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """Who does what."""
    return [(effect["node"], effect["what"]) for effect in entry["effects"]]


def test_a_handshake_waits_for_the_backup(entries: list[dict[str, Any]]) -> None:
    syn, answer = entries[:2]
    assert effects(syn) == [("primary", "pass"), ("backup", "pass")]
    assert effects(answer) == [
        ("primary", "hold"), ("primary", "tell"), ("backup", "drop"), ("backup", "tell"), ("primary", "pass"),
    ]  # fmt: skip
    held, opening, dropped, opened, _ = answer["effects"]
    assert held["why"] == "opened" and held["protection"] == "opening"
    assert opening["record"]["type"] == "OPEN" and opened["record"]["type"] == "OPENED"
    assert dropped["why"] == "drop_suppressed" and dropped["protection"] == "protected"


def test_an_answer_waits_for_the_commit_of_what_it_acknowledges(entries: list[dict[str, Any]]) -> None:
    held = [effect for entry in entries for effect in entry["effects"] if effect.get("why") == "input"]
    assert held and all(effect["node"] == "primary" and effect["what"] == "hold" for effect in held)
    commits = [effect["record"] for entry in entries for effect in entry["effects"] if "record" in effect]
    assert sum(record["type"] == "COMMIT" for record in commits) > 10


def test_the_backup_takes_over_where_another_station_speaks(entries: list[dict[str, Any]]) -> None:
    (at,) = [i for i, entry in enumerate(entries) if "takeover" in entry]
    assert ("backup", "send") in effects(entries[at])
    before = {effect["node"] for entry in entries[:at] for effect in entry["effects"]}
    after = {effect["node"] for entry in entries[at:] for effect in entry["effects"]}
    assert before == {"primary", "backup"} and after == {"backup"}
    said = [entry for entry in entries[at + 1 :] if entry.get("from") == "service"]
    assert len(said) > 10
    assert all(("backup", "pass") in effects(entry) for entry in said[5:])


def test_people_are_told_the_same(capture: Path) -> None:
    told = CliRunner().invoke(main, ["explain", str(capture), "--packets", "2"]).output
    assert told.splitlines()[0].endswith("[S] seq 0 win 64240")
    assert "    primary  holds it: the backup has not said that it follows this connection" in told
    assert len([line for line in told.splitlines() if "#" in line]) == 2


def test_the_diagram_is_that_of_the_capture(capture: Path) -> None:
    done = CliRunner().invoke(main, ["explain", "--diagram", str(capture)])
    assert done.exit_code == 0
    assert done.output == (ROOT / "tests/stories/capture.diagram").read_text()
    page = (ROOT / "docs/protocol.md").read_text().partition("fttcp explain --diagram takeover.pcap")[2]
    head, *shown = page.split("```\n")[2].splitlines()
    drawn = done.output.splitlines()
    at = drawn.index(shown[0])
    assert head == drawn[0] and shown == drawn[at : at + len(shown)] and len(shown) > 5


@pytest.mark.parametrize("content", [b"", b"x" * 80])
def test_what_is_no_capture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    done = CliRunner().invoke(main, ["explain", str(tmp_path / "file"), "--json"])
    told = json.loads(done.output)
    assert done.exit_code == 2 and told["reason"] == "no-capture"
    assert "not a file of packets" in told["error"]


def test_a_capture_without_a_handshake_asks_for_the_service(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "file") as file:
        file.write("eth0", ETHERNET, 1, bytes(60))
    done = CliRunner().invoke(main, ["explain", str(tmp_path / "file")])
    assert done.exit_code == 2 and "--service ADDRESS" in done.output


def test_a_recording_of_a_node_is_explained_as_it_decided(tmp_path: Path) -> None:
    """The steps of a backup that takes over, written as a recording of it, are decided on as they were."""
    steps = pair_of("crash")[1][1:]
    modes, mode = ("idle", "backup", "paired", "solo"), "idle"
    with CaptureWriter(tmp_path / "recording") as file:
        for step in steps:
            what, when, *words = step.split()
            if what == "role":
                mode = modes[int(words[0])]
                file.write(f"{mode} role", USER0, int(when), b"")
            elif what in ("in", "out"):
                file.write(f"{mode} {what}", RAW_IP, int(when), bytes.fromhex(words[0]))
            elif what == "record":
                file.write(f"{mode} heard", USER0, int(when), bytes.fromhex(words[0]))
    told = list(explain_node(recorded(records(tmp_path / "recording"))))
    effects = [effect for entry in told for effect in entry.effects]
    verdicts = [effect for effect in effects if effect.what in ("pass", "drop")]
    assert sum(isinstance(entry.cause, Packet) for entry in told) == len(verdicts) > 100
    let_go = {(one.mode.name, one.was.direction.name) for one in verdicts if one.what == "pass" and one.was}
    assert let_go == {("BACKUP", "FROM_CLIENT"), ("SOLO", "FROM_SERVER")}
    then = [line.split()[2] for done in run_native(pair_of("crash")[1]) for line in done if "verdict" in line]
    assert [one.what for one in verdicts] == ["pass" if word == "accept" else "drop" for word in then]
    words = Words()
    lines = [line.strip() for entry in told for line in words.lines(entry)]
    assert any("tells OPEN service_iss 0" in line for line in lines), (
        "the client's numbers, not the node's own"
    )
    sent = [line for line in lines if line.startswith("node     sends the client: [")]
    assert "] seq 1..1449 " in sent[0]


def test_a_recording_of_a_node_is_no_capture_to_draw(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "recording") as file:
        file.write("paired role", USER0, 1, b"")
    done = CliRunner().invoke(main, ["explain", str(tmp_path / "recording"), "--diagram"])
    assert done.exit_code == 2 and "recording of one node" in done.output and "link type" not in done.output
    assert CliRunner().invoke(main, ["explain", str(tmp_path / "recording")]).exit_code == 0


def test_a_replay_that_ends_is_told() -> None:
    with pytest.raises(ReplayError, match="ended"):
        Replay(["true"])


def test_files_of_packets(tmp_path: Path) -> None:
    place = tmp_path / "file"
    with CaptureWriter(place) as file:
        file.write("paired in", RAW_IP, 1_700_000_000_123_456_789, b"abcde")
        file.write("paired told", USER0, 1_700_000_000_123_456_790, b"")
    one, two = records(place)
    assert (one.time_ns, one.link, one.data) == (1_700_000_000_123_456_789, RAW_IP, b"abcde")
    assert (two.time_ns - one.time_ns, two.link, two.length) == (1, USER0, 0)
    assert (one.interface, two.interface) == ("paired in", "paired told")


def test_a_damaged_file_ends_or_is_refused(tmp_path: Path) -> None:
    """Whatever is cut off or changed, there is no other error."""
    place = tmp_path / "file"
    with CaptureWriter(place) as file:
        file.write("a", RAW_IP, 1, b"abcde")
        file.write("b", USER0, 2, b"abcdef")
    whole = place.read_bytes()
    for at in range(len(whole)):
        for content in (whole[:at], whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]):
            place.write_bytes(content)
            try:
                list(records(place))
            except CaptureError:
                continue


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x60" * 40, b"\x45" + bytes(19), bytes(range(60))])
def test_what_is_no_packet_is_left_out(data: bytes) -> None:
    assert complete(data) is None
