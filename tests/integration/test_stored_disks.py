"""Stored replies where a disk is full, hangs, or has what cannot be read; and beside an earlier release."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.faults import make_fault
from lab.hosts import Host
from lab.nodeconfig import GROUP
from tests.integration import next_release
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, who_serves
from tests.integration.stations import events
from tests.integration.test_simple_takeover import until
from tests.integration.test_stored_replies import (
    ENDS,
    PROGRAM,
    executed,
    executes,
    home,
    in_step,
    pair,
    stored,
)

__all__ = ["home", "pair"]
pytestmark = needs_root

DISK_BYTES = 24 << 20
BESIDE = """
[[group]]
name = "beside"
mode = "address"
addresses = ["10.77.0.150"]
queue = 7800
channel_port = 7900
resource = [{name = "nothing", start = "true", stop = "true", status = "true"}]
"""
"""Of another group, which stores nothing."""


def _directory(pair: Pair, node: str) -> Path:
    return pair.lab.home / node / "state" / f"stored-{GROUP}"


@contextmanager
def _own_disk(pair: Pair, node: str, image: Path) -> Iterator[Path]:
    """Start a node anew with a disk of its own under what it stores; where that is."""
    where = _directory(pair, node)
    where.mkdir(parents=True, exist_ok=True)
    image.touch()
    os.truncate(image, DISK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)

    def prepare(host: Host) -> None:
        with host.popen(["mount", "-o", "loop", str(image), str(where)]) as mounts:
            assert mounts.wait() == 0

    make_fault(pair.lab, "crash-host", node)
    pair.lab.restart_host(node, prepare)
    try:
        yield where
    finally:
        make_fault(pair.lab, "crash-host", node)  # the disk goes with its host
        make_fault(pair.lab, "restart-host", node)


@contextmanager
def _asks(pair: Pair, home: Path, name: str, unanswered: int = 1) -> Iterator[None]:
    """A client that asks all the time; at the end nothing was executed twice, each reply was the same, and at
    most so many were not answered in the time that it gives them."""
    stop, told = home / f"stop-{name}", []
    stop.unlink(missing_ok=True)
    asked = [sys.executable, str(PROGRAM), "ask", str(stop), *ENDS.split()]
    (home / "executed").write_text("")
    client = threading.Thread(target=lambda: told.append(pair.lab.exec("client", asked).stdout))
    client.start()
    try:
        yield
    finally:
        stop.touch()
        client.join()
    seen: dict[str, Any] = json.loads(told[0])
    assert executed(home).most_common(1)[0][1] == 1
    assert not seen["differing"] and len(seen["unanswered"]) <= unanswered


def _backup_of(pair: Pair) -> str:
    serving = in_step(pair)
    return next(node for node in pair.lab.nodes() if node != serving)


def _on(pair: Pair, node: str, *command: str) -> None:
    assert pair.lab.exec(node, list(command)).returncode == 0


def _fills(pair: Pair, node: str, disk: Path) -> None:
    """But for the block that the last file has begun."""
    fill = 'dd if=/dev/zero of="$1/filler" bs=4k 2>/dev/null; sync -f "$1"'
    _on(pair, node, "sh", "-c", fill, "sh", str(disk))


def _is_told(pair: Pair, serving: str, backup: str, why: str) -> None:
    """On both nodes, and in the events."""
    until(lambda: why in pair.reasons(backup).get("stored-disk", ""))
    until(lambda: why in pair.reasons(serving).get("stored-behind", ""))
    until(lambda: serving in pair.reasons(backup).get("stored-behind", ""))
    assert pair.group(serving)["ready"] and not pair.group(backup)["ready"]
    assert "behind" in [event["what"] for event in events(pair.lab, serving, "stored")]
    assert "trouble" in [event["what"] for event in events(pair.lab, backup, "stored")]
    assert pair.group(serving)["counters"]["stored_alone"] > 0


@pytest.mark.parametrize("trouble", ["full", "hangs"])
def test_a_backup_that_cannot_store_holds_nothing_up(pair: Pair, home: Path, trouble: str) -> None:
    """It is brought up to date when it can again: then nothing is executed twice after a crash either."""
    pair.ready()
    backup = _backup_of(pair)
    with _own_disk(pair, backup, home / trouble) as disk, _asks(pair, home, trouble):
        serving = in_step(pair)
        executes(home)
        if trouble == "full":
            _fills(pair, backup, disk)
            why = "No space left on device"
        else:
            _on(pair, backup, "fsfreeze", "--freeze", str(disk))
            why = "the disk does not answer"
        try:
            until(lambda: not stored(pair, serving)["in_step"])
            executes(home)
            _is_told(pair, serving, backup, why)
            executes(home)
        finally:
            mends = (
                ["rm", str(disk / "filler")] if trouble == "full" else ["fsfreeze", "--unfreeze", str(disk)]
            )
            _on(pair, backup, *mends)
        assert in_step(pair) == serving
        until(lambda: "stored-behind" not in pair.reasons(backup) | pair.reasons(serving))
        make_fault(pair.lab, "crash-host", serving)
        until(lambda: who_serves(pair.lab) == [backup])
        executes(home)
        make_fault(pair.lab, "restart-host", serving)
        in_step(pair)


def test_a_takeover_tells_what_it_lacks(pair: Pair, home: Path) -> None:
    pair.ready()
    backup = _backup_of(pair)
    with _own_disk(pair, backup, home / "lacks") as disk:
        serving = in_step(pair)
        with _asks(pair, home, "lacks"):
            executes(home)
            _fills(pair, backup, disk)
            until(lambda: "stored-behind" in pair.reasons(backup))
        make_fault(pair.lab, "crash-host", serving)
        until(lambda: who_serves(pair.lab) == [backup])
        until(lambda: "lacks" in [event["what"] for event in events(pair.lab, backup, "stored")])
        make_fault(pair.lab, "restart-host", serving)
        _on(pair, backup, "rm", str(disk / "filler"))
        in_step(pair)


def test_a_primary_whose_disk_hangs_gives_the_role_to_its_backup(pair: Pair, home: Path) -> None:
    """Requests go on while it hangs: by the other node, which goes on alone."""
    pair.ready()
    hung = _backup_of(pair)
    with _own_disk(pair, hung, home / "primary") as disk:
        other = in_step(pair)
        assert pair.order(other, "switchover", GROUP)["status"] == 0
        until(lambda: who_serves(pair.lab) == [hung])
        in_step(pair)
        with _asks(pair, home, "primary", 10):
            executes(home)
            _on(pair, hung, "fsfreeze", "--freeze", str(disk))
            try:
                until(lambda: who_serves(pair.lab) == [other])
                executes(home)
                _is_told(pair, other, hung, "the disk does not answer")
            finally:
                _on(pair, hung, "fsfreeze", "--unfreeze", str(disk))
            assert in_step(pair) == other


def test_a_group_waits_for_what_it_cannot_read(pair: Pair, home: Path) -> None:
    """Its node says why, and goes on by itself when that is gone. Another group does not wait for it."""
    pair.ready()
    backup, lab = _backup_of(pair), pair.lab
    strange, file = _directory(pair, backup) / "stored-ffffffffffffffff", lab.home / backup / "node.toml"
    text = file.read_text()

    def prepare(host: Host) -> None:
        strange.write_bytes(b"FTTREPL\n" + bytes((0, 0, 0, 99)) + bytes(4))
        file.write_text(text + BESIDE)

    def beside() -> str:
        groups = lab.ask(backup, {"op": "status"}, timeout_s=5)["groups"]
        return next(str(group["role"]) for group in groups if group["name"] == "beside")

    make_fault(lab, "crash-host", backup)
    socket = lab.restart_host(backup, prepare).path("/run/fttcp/control.sock")
    try:
        until(socket.exists)
        until(lambda: strange.name in pair.reasons(backup).get("stored-unread", ""))
        until(lambda: beside() == "primary")
        assert "stored-unread" in pair.reasons(backup)
        assert "unread" in [event["what"] for event in events(lab, backup, "stored")]
        strange.unlink()
        until(lambda: pair.group(backup)["synced"])
        assert "stored-unread" not in pair.reasons(backup)
    finally:
        make_fault(lab, "crash-host", backup)
        strange.unlink(missing_ok=True)
        file.write_text(text)
        make_fault(lab, "restart-host", backup)
    in_step(pair)


def test_a_node_of_an_earlier_release_is_refused_and_holds_nothing_up(
    pair: Pair, home: Path, tmp_path: Path
) -> None:
    pair.ready()
    backup, lab = _backup_of(pair), pair.lab
    file = lab.home / backup / "node.toml"
    text = file.read_text()
    begins = text.index("[group.stored_replies]")
    ends = text.find("\n[", begins)
    make_fault(lab, "crash-host", backup)
    lab.programs[backup] = next_release.make_earlier(tmp_path)
    file.write_text(text[:begins] + ("" if ends < 0 else text[ends:]))
    try:
        make_fault(lab, "restart-host", backup)
        serving = next(node for node in lab.nodes() if node != backup)
        until(lambda: f"{backup}: stored_replies" in pair.reasons(serving).get("settings", ""))
        until(lambda: "peer-differs" in pair.reasons(serving))
        with _asks(pair, home, "earlier"):
            executes(home)
    finally:
        make_fault(lab, "crash-host", backup)
        del lab.programs[backup]
        file.write_text(text)
        make_fault(lab, "restart-host", backup)
    in_step(pair)
