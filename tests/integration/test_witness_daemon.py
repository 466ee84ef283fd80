"""The real witness: killed at any moment, it forgets nothing that it said, and never says two things."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fttcp.arbiter.settings import WitnessSettings
from fttcp.arbiter.witness.client import WitnessClient
from fttcp.ownership.ownership import Outcome, Ownership, Record
from fttcp.wire import keyfile
from fttcp.wire.witness import Keys
from lab.hosts import await_condition
from tests.integration.witness_daemon import WitnessDaemon
from tests.ledger import Ledger

KILLS, SEED = 200, 20260101
MS = 1_000_000


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[WitnessDaemon]:
    daemon = WitnessDaemon(tmp_path)
    yield daemon
    daemon.close()


async def connect(daemon: WitnessDaemon, node: str, timeout_ms: int = 5000) -> WitnessClient:
    keys = Keys(keyfile.load(daemon.key_file))
    endpoints = [("127.0.0.1", daemon.port)]
    settings = WitnessSettings("lab", node, endpoints, keys, timeout_ms * MS, 1000 * MS)
    client = WitnessClient(settings)
    return await client.open(watch=False)


class Contender:
    """Proposes without end; after each UNREACHABLE it asks what stands."""

    def __init__(self, client: WitnessClient, me: str, other: str, ledger: Ledger) -> None:
        self._client, self._me, self._other, self._ledger = client, me, other, ledger
        self.asked = asyncio.Event()
        self.answers = 0

    async def run(self) -> None:
        known: Record | None = None
        while True:
            wanted = Record((known.epoch if known else 0) + 1, self._me, Ownership.PAIRED, self._other)
            at = time.monotonic()
            self.asked.set()
            answer = await self._client.propose("web", known, wanted)
            if answer.outcome is Outcome.WON:
                self._ledger.note_win(known, wanted)
            while answer.outcome is Outcome.UNREACHABLE:
                at = time.monotonic()
                answer = await self._client.inquire("web")
            self._ledger.note(at, time.monotonic(), answer.record)
            known = answer.record
            self.answers += 1


def test_no_record_is_lost_or_forked_by_two_hundred_kills(daemon: WitnessDaemon) -> None:
    chance = random.Random(SEED)
    ledger = Ledger()

    async def kill_often() -> None:
        clients = [await connect(daemon, name, timeout_ms=300) for name in ("alpha", "beta")]
        contenders = [
            Contender(clients[0], "alpha", "beta", ledger),
            Contender(clients[1], "beta", "alpha", ledger),
        ]
        tasks = [asyncio.create_task(contender.run()) for contender in contenders]
        kills = 0
        while kills < KILLS or len(ledger.wins) <= KILLS:  # on a busy machine a life may win nothing
            kills += 1
            daemon.start()
            before = sum(contender.answers for contender in contenders)
            while sum(contender.answers for contender in contenders) < before + 2:
                waiting = asyncio.create_task(contenders[0].asked.wait())
                await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
                assert waiting.done(), daemon.log.read_text()[-2000:]
                contenders[0].asked.clear()
            await asyncio.sleep(chance.random() * 0.004)  # anywhere in the next few proposals
            daemon.stop(signal.SIGKILL)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for client in clients:
            await client.close()

    asyncio.run(asyncio.wait_for(kill_often(), 400))
    ledger.check()
    print(f"seed {SEED}: {KILLS} kills, {len(ledger.told)} answers, {len(ledger.wins)} won")
    assert len(ledger.wins) > KILLS


def test_a_stopped_witness_keeps_its_records_and_tells_what_it_holds(daemon: WitnessDaemon) -> None:
    record = Record(1, "alpha", Ownership.SOLO)

    async def own() -> None:
        client = await connect(daemon, "alpha")
        assert (await client.propose("web", None, record)).outcome is Outcome.WON
        for number in range(5):
            await client.propose(f"more{number}", None, record)
        await client.close()

    daemon.start()
    asyncio.run(own())
    assert daemon.stop() == 0
    daemon.start()
    status = daemon.status()
    assert [entry["group"] for entry in status["registers"]] == [*(f"more{n}" for n in range(5)), "web"]
    assert status["registers"][-1]["record"] == {"epoch": 1, "holder": "alpha", "mode": "solo", "backup": ""}
    second = daemon.call()
    assert second.returncode == 1 and "in use by another witness" in second.stderr
    assert daemon.stop(signal.SIGINT) == 0


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_change_is_on_the_disk_before_it_is_answered(daemon: WitnessDaemon, tmp_path: Path) -> None:
    """Seen from the kernel: between the request and its answer the log is written, then synced."""
    trace = tmp_path / "trace"
    calls = "trace=recvfrom,sendto,pwrite64,fdatasync,fsync"

    async def change() -> None:
        client = await connect(daemon, "alpha", timeout_ms=20_000)
        known: Record | None = None
        for epoch in range(1, 21):
            wanted = Record(epoch, "alpha", Ownership.PAIRED, "beta")
            assert (await client.propose("web", known, wanted)).outcome is Outcome.WON
            known = wanted
        await client.close()

    daemon.start(under=["strace", "-D", "-f", "-y", "-s", "400", "-o", str(trace), "-e", calls])
    asyncio.run(change())
    assert daemon.stop() == 0  # the tracer is a process of its own, and ends after it
    last = f"{daemon.pid} +++ exited with 0 +++"
    await_condition(
        lambda: any(line.split() == last.split() for line in trace.read_text().splitlines()),
        30,
        "the tracer ends",
    )
    written = synced = answers = 0
    for line in trace.read_text().splitlines():
        if "witness.db-wal" in line and "pwrite64(" in line:
            written, synced = written + 1, 0
        elif "witness.db-wal" in line and "sync(" in line and "= -1" not in line:
            synced = 1
        elif "sendto(" in line and "FTW" in line and "won" in line:
            assert written and synced, f"answered before the disk had it: {line}"
            answers += 1
    assert answers >= 20 and written >= 20


def test_keys_are_exchanged_while_it_runs(daemon: WitnessDaemon) -> None:
    """Three stages at the witness, each followed by the node: it is never deaf to it."""

    async def exchange() -> None:
        keys = Keys(keyfile.load(daemon.key_file))
        settings = WitnessSettings("lab", "alpha", [("127.0.0.1", daemon.port)], keys, 5000 * MS, 1000 * MS)
        client = await WitnessClient(settings).open(watch=False)
        record = Record(1, "alpha", Ownership.SOLO)
        assert (await client.propose("web", None, record)).outcome is Outcome.WON
        for stage in (keyfile.add, keyfile.turn, keyfile.drop):
            ring = stage(daemon.key_file)
            os.kill(daemon.pid, signal.SIGHUP)
            assert (await client.inquire("web")).record == record
            keys.change(ring)
            assert (await client.renew("web", record)).outcome is Outcome.WON
        await client.close()

    daemon.start()
    asyncio.run(exchange())
    assert daemon.log.read_text().count('"event": "keys"') == 3
    daemon.key_file.chmod(0o644)
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.key_file.chmod(0o600)
    assert daemon.status()["registers"]


def test_what_it_cannot_start_with_is_named(daemon: WitnessDaemon, tmp_path: Path) -> None:
    again = daemon.call("--init")
    assert again.returncode == 1 and "never overwritten" in again.stderr
    (tmp_path / "witness.db").unlink()
    lost = daemon.call()
    assert lost.returncode == 1 and "--init" in lost.stderr
    silent = daemon.call("--status")
    assert silent.returncode == 1 and "no witness answers for cluster lab" in silent.stderr
    daemon.config.write_text('listen = ["host:1"]\nlease_ms = 1\n[[cluster]]\nname = "a"\nkey_file = ""')
    wrong = daemon.call()
    assert wrong.returncode == 2 and "lease_ms: 1 is below 500" in wrong.stderr


def test_a_witness_without_its_socket_address_says_so(daemon: WitnessDaemon) -> None:
    daemon.start()
    daemon.status()
    text = daemon.config.read_text()
    daemon.config.write_text(text.replace("witness.db", "other.db"))
    assert daemon.call("--init").returncode == 0
    second: subprocess.CompletedProcess[str] = daemon.call()
    assert second.returncode == 1 and "Address already in use" in second.stderr


def test_it_listens_on_both_ip_versions_with_one_port(daemon: WitnessDaemon) -> None:
    """As docs/arbiters.md has it: `::` alone must not take IPv4's port as well."""
    text = daemon.config.read_text()
    daemon.config.write_text(
        text.replace(f'"127.0.0.1:{daemon.port}"', f'"0.0.0.0:{daemon.port}", "[::]:{daemon.port}"')
    )
    daemon.start()
    assert daemon.status()["registers"] == []
    for local in ("127.0.0.1", "::1"):
        only = daemon.config.with_name("only.toml")
        place = f"[{local}]" if ":" in local else local
        only.write_text(text.replace(f"127.0.0.1:{daemon.port}", f"{place}:{daemon.port}"))
        asked = daemon.call("--status", "--config", str(only))
        assert asked.returncode == 0, asked.stderr
