"""Logs that are cut short, damaged, of another version or of another server: nothing of them is served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fttcp._native import lib
from lab import experiment
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab, fttcp_program
from lab.network import NODES
from tests.integration.netns import needs_root
from tests.integration.pair import Pair, pair_named, who_serves
from tests.integration.renewing import WITHIN_S, await_states, begun, enough, living, told, uploads

pytestmark = needs_root

MEMORY = 64 << 10
LONG = 4_000_000
ROUGH = 4096
"""Bytes of a history that has several frames of the echo in it."""
LOG_BYTES = 8 << 20
"""The echo says more than the default bound while histories are read."""
FOREIGN = f"{sys.executable} -c pass"


# --- histories on disk ------------------------------------------------------------------------------------


def replay(log: Path, *command: str) -> tuple[int, dict[str, Any]]:
    """What `fttcp replay` tells, and its exit status."""
    words = [fttcp_program(), "replay", str(log), "--json", *(("--", *command) if command else ())]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.returncode, json.loads(done.stdout or done.stderr)


def flipped(data: bytes) -> bytes:
    """One bit in its middle is another one."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def of_another_version(data: bytes) -> bytes:
    """As a later release may write it."""
    version = (lib.FTT_HISTORY_VERSION + 1).to_bytes(4, "big")
    return data[:8] + version + data[12:]


def check_what_replay_says(whole: bytes, directory: Path) -> None:
    """Of each kind of damage, and of another server."""
    path = directory / "copy.history"
    for damage, word in (
        (flipped, "damaged at byte"),
        (of_another_version, "this release reads"),
        (lambda data: data[:100], "its head is damaged"),
        (lambda data: b"x" * len(data), "begins with something else"),
        (lambda data: b"", "too short"),
    ):
        path.write_bytes(damage(whole))
        status, told = replay(path)
        assert (status, told["reason"]) == (2, "damaged") and word in told["error"], told
        assert replay(path, *FOREIGN.split())[0] == 2, "no server is told of it"
    path.write_bytes(whole)
    _, told = replay(path)
    path.write_bytes(whole[: len(whole) // 2])
    status, cut = replay(path)
    assert status == 0 and 0 < cut["events"] < told["events"], cut
    status, other = replay(path, *FOREIGN.split())
    assert status == 1 and "another command" in other["note"] and not other["ok"], other


@pytest.fixture(params=["hot", "cold"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Each node keeps its history on its disk."""
    settings = (f"standby={request.param}", 'history_fsync="batch"', f"limits.renew_flow_bytes={LOG_BYTES}")
    settings += tuple(f"{node}.history_dir={tmp_path}/{node}" for node in NODES)
    yield from pair_named(f"damaged-{request.param}", settings, ("echo",))


def test_a_node_goes_on_without_the_histories_that_it_finds(kept: Pair, tmp_path: Path) -> None:
    """They are those of lives that have ended: nothing is read there, and nothing written."""
    lab = kept.ready().lab
    with begun(lab, "echo", tmp_path / "echo") as echo:
        primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
        await_states(lab, primary, "protected")
        file = Path(kept.group(primary)["recording"]["file"])
        await_condition(lambda: file.stat().st_size > ROUGH, WITHIN_S, "some of the echo in its history")
        make_fault(lab, "crash-host", primary)
        whole = file.read_bytes()
        check_what_replay_says(whole, tmp_path)
        file.write_bytes(flipped(whole))
        strange = file.with_name("lab-29991231T235959Z-00000000.history")  # the youngest by its name
        others = {file: flipped(whole), strange: of_another_version(whole)}
        strange.write_bytes(others[strange])
        make_fault(lab, "restart-host", primary)
        lab.wait("synced", WITHIN_S)
        await_states(lab, backup, "protected")
        told = kept.group(primary)["recording"]
        assert Path(told["file"]) not in others and not told["trouble"], told
        make_fault(lab, "crash-host", backup)
        await_condition(lambda: who_serves(lab) == [primary], WITHIN_S, f"{primary} serves again")
        enough(echo)
        assert strange.exists() and all(path.read_bytes() == others[path] for path in others if path.exists())


# --- the spool --------------------------------------------------------------------------------------------


@contextmanager
def spooled(standby: str, directory: Path) -> Iterator[Lab]:
    """A pair that puts nearly all of an upload on its disks."""
    settings = (f"standby={standby}", f"limits.renew_flow_bytes={MEMORY}")
    settings += ("timing.detach_after_ms=10000",)  # a busy machine keeps a server from its processor
    settings += tuple(f"{node}.renew_spool_dir={directory}/{node}" for node in NODES)
    for pair in pair_named(f"rotten-{standby}", settings, ("bulk-up", "echo")):
        lab = pair.ready().lab
        make_fault(lab, "rate", "client", 50)
        yield lab


def rot(lab: Lab, node: str) -> None:
    """The upload is on the node's disk, and the spool, which has no name, has other bytes there."""

    def there() -> bool:
        return sum(int(str(one["spool_bytes"])) for one in told(lab, node).values()) > LONG - 3 * MEMORY

    await_states(lab, node, "protected")
    await_condition(there, WITHIN_S, f"the upload on {node}'s disk")
    descriptors = Path(f"/proc/{lab.node_process(node).pid}/fd")
    (spool,) = (one for one in descriptors.iterdir() if f"/{node}/#" in str(one.readlink()))
    with spool.open("r+b") as file:
        for at in range(0, file.seek(0, os.SEEK_END), MEMORY // 2):
            file.seek(at)
            file.write(b"rotten")


def check_served(lab: Lab, node: str, directory: Path) -> None:
    """People were told of the spool, and others are served."""
    events = lab.ask(node, {"op": "events", "since": 0}, 5)["events"]
    assert [one for one in events if one["event"] == "spool"]
    with begun(lab, "echo", directory / "echo") as echo:
        enough(echo)


def test_a_primary_whose_spool_rots_serves_and_renews_nothing_of_it(tmp_path: Path) -> None:
    with spooled("hot", tmp_path) as lab, uploads(lab, LONG) as upload:
        primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
        rot(lab, primary)
        make_fault(lab, "crash-host", backup)
        experiment.revive(lab)
        await_condition(
            lambda: [one["unrenewable"] for one in living(lab, primary).values()] == ["spool-failed"],
            WITHIN_S,
            "it is not renewed",
        )
        answers, _ = upload.communicate("\n", timeout=WITHIN_S)
        assert answers.splitlines() == [f"good {LONG}"]
        check_served(lab, primary, tmp_path)


def test_a_cold_backup_whose_spool_rots_resets_who_is_in_it(tmp_path: Path) -> None:
    with spooled("cold", tmp_path) as lab, uploads(lab, LONG) as upload:
        primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
        rot(lab, backup)
        make_fault(lab, "crash-host", primary)
        await_condition(lambda: who_serves(lab) == [backup], WITHIN_S, f"{backup} serves")
        answers, _ = upload.communicate("\n", timeout=WITHIN_S)
        assert answers.splitlines() == ["lost"]
        check_served(lab, backup, tmp_path)
