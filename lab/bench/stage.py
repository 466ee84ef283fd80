"""A lab in which measurements are made: the pair, every system that is compared, and the client's tools."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab import network
from lab.bench import programs
from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES, SERVICE_LINK, cables
from lab.nodeconfig import node_config, parse_serve

PORT = 7070
AS_ON_HOSTS = ("experiment.space_seed=0",)
"""A node that has taken nothing over translates nothing."""
END_S = 60.0
"""A program of the client that does not end so long after its time has failed."""
SYNC_S = 30.0
CLIENT_ADDRESSES = ("10.77.0.10", "10.77.0.11", "10.77.0.12", "10.77.0.13")
FLOWS_OF_AN_ADDRESS = 10_000
"""With more than these, connections are opened from all of the client's addresses in turn."""
ANSWER_S = 5.0
Report = dict[str, Any]
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Setup:
    """What a lab is made with: --serve and --set, `prepare` for the servers' files on each node. `probes`:
    whether the server bears connections that say nothing, as health checks make them."""

    serve: tuple[str, ...] = (f"{PORT}/tcp={programs.SERVE} {PORT}",)
    settings: tuple[str, ...] = ()
    prepare: Callable[[Host], None] | None = None
    probes: bool = True

    @property
    def ports(self) -> list[str]:
        """The ports that are served."""
        return [port.partition("/")[0] for port in parse_serve(self.serve)[0]]

    @property
    def beats(self) -> tuple[int, int]:
        """Heartbeat interval in ms and the number of misses that count as an end."""
        from fttcp.config.schema import Timing

        timing = node_config(NODES[0], Path("/"), self.serve, self.settings)["group"][0].get("timing", {})
        default = Timing()
        return (
            timing.get("heartbeat_ms", default.heartbeat_ms),
            timing.get("heartbeat_misses", default.heartbeat_misses),
        )


class Guest(Protocol):
    """What serves in a lab beside the pair; see ``lab.bench.scenario.System``."""

    def prepare(self, stage: Stage) -> None: ...

    def mend(self, stage: Stage) -> None: ...


class Stage:
    """One lab of the bench; made by open(), removed by close(), whatever has happened in between. Or `lab`,
    which another has made like that."""

    def __init__(self, setup: Setup, lab: Lab | None = None) -> None:
        self.setup = setup
        self.lab = lab or Lab(f"bench-{os.getpid()}-{next(_numbers)}")
        self.reborn: list[str] = []
        """The nodes that mend() has made anew, for the systems to start their own parts there."""
        self._prepared: list[Guest] = []
        self._mbit: float | None = None

    def open(self) -> None:
        """Make the lab; raises LabError."""
        self.lab.up(self.setup.serve, (*AS_ON_HOSTS, *self.setup.settings), prepare=self._prepare_node)
        for address in CLIENT_ADDRESSES[1:]:
            self.lab.host(CLIENT).run(
                ["ip", "address", "add", f"{address}/24", "dev", self.interface(CLIENT)]
            )
        network.sysctl(
            self.lab.host(CLIENT),
            {"net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.tcp_tw_reuse": 1},
        )

    def close(self) -> None:
        """Remove the lab and every process in it."""
        self.lab.down()

    def require(self, system: Guest) -> None:
        """Let `system` serve in this lab; raises LabError when it cannot."""
        if system not in self._prepared:
            system.prepare(self)
            self._prepared.append(system)

    def mend(self) -> None:
        """Bring everything back to the beginning after a fault: hosts, pair, systems; raises LabError."""
        make_fault(self.lab, "heal")
        self._mbit = None
        self.reborn = []
        for node in NODES:
            try:
                self.lab.host(node).require_alive()
                self.lab.node_process(node)
            except LabError:
                self.lab.restart_host(node, self._prepare_node)
                self.reborn.append(node)
        self.lab.wait("synced", SYNC_S)
        for system in self._prepared:
            system.mend(self)

    def rate(self, mbit: float | None) -> None:
        """Shape the client's cable in both directions; None: as fast as it goes."""
        if mbit != self._mbit:
            network.set_rate(self.lab.host(network.SWITCH), self.lab.host(CLIENT), mbit)
            self._mbit = mbit

    # ---- facts

    def primary(self) -> dict[str, Any]:
        """Return the group's status at the primary with the highest epoch, and its "node". A daemon that is
        too busy to answer is asked again; raises LabError when there is no primary for ANSWER_S."""
        claims: list[dict[str, Any]] = []

        def ask() -> bool:
            claims[:] = [
                {**group, "node": node["node"]}
                for node in self.lab.status()["nodes"]
                for group in node["groups"]
                if group["role"] == "primary"
            ]
            return bool(claims)

        await_condition(ask, ANSWER_S, f"lab {self.lab.name!r}: a primary that answers", interval_s=0.05)
        return max(claims, key=lambda claim: int(claim["epoch"]))

    @staticmethod
    def address(host: str) -> str:
        """Return the address of `host` on the service network."""
        return str(cables(host, SERVICE_LINK)[0].address4.ip)

    @staticmethod
    def interface(host: str) -> str:
        """Return the interface of `host` on the service network."""
        return cables(host, SERVICE_LINK)[0].interface

    def events(self, node: str, since: int) -> list[dict[str, Any]]:
        """Return what `node` has noted after its event number `since`."""
        answer = self.lab.ask(node, {"op": "events", "since": since}, timeout_s=ANSWER_S)
        return list(answer["events"])

    # ---- programs

    def daemon(self, host: str, argv: Sequence[str]) -> Path:
        """Start a program that lives as long as its host; returns the file with its output."""
        log = self.lab.home / host / "log" / f"{Path(argv[0]).name}.log"
        with log.open("ab") as out:
            self.lab.keep_child(
                self.lab.popen(host, argv, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            )
        return log

    def run(self, argv: Sequence[str], seconds: float) -> str:
        """Run a program of the client and return what it prints; raises LabError when it fails or hangs."""
        done = self.lab.exec(CLIENT, argv, cwd="/", timeout=seconds + END_S)
        if done.returncode:
            raise LabError(
                f"{' '.join(argv)}: status {done.returncode}: {(done.stderr + done.stdout).strip()}"
            )
        return done.stdout

    def load(
        self, verb: str, address: str, *, flows: int = 1, size: int = 64, window: int = 1, seconds: float
    ) -> Report:
        """Run native/load.c to its end and return its report."""
        argv = self._load(verb, address, flows, size, window, seconds)
        report: Report = json.loads(self.run(argv, seconds + flows / 1000))
        return report

    @staticmethod
    def _load(verb: str, address: str, *numbers: float) -> list[str]:
        sources = CLIENT_ADDRESSES if numbers[0] > FLOWS_OF_AN_ADDRESS else ()
        return [programs.LOAD, verb, address, str(PORT), *map(str, numbers), *sources]

    @contextmanager
    def loaded(
        self, verb: str, address: str, *, flows: int, size: int = 64, window: int = 16, seconds: float = 0.0
    ) -> Iterator[subprocess.Popen[str]]:
        """Run native/load.c during the block; its connections are open when this returns. Of "hold", each
        line to stdin asks on all of them."""
        argv = self._load(verb, address, flows, size, window, seconds)
        with self._process(argv, text=True, stdin=subprocess.PIPE) as process:
            self._await_start(process)
            yield process

    @contextmanager
    def flooded(self, address: str, count: int, per_s: float) -> Iterator[subprocess.Popen[str]]:
        """Run the client's flood of so many SYNs during the block."""
        argv = [sys.executable, "-I", programs.FLOOD, address, str(PORT), str(count), str(per_s)]
        with self._process(argv, text=True) as process:
            yield process

    @contextmanager
    def client(
        self, mode: str, address: str, seconds: float, host: str = CLIENT
    ) -> Iterator[subprocess.Popen[str]]:
        """Run client.py during the block; it has traffic when this returns."""
        port = 443 if mode.endswith("-https") else PORT
        argv = [sys.executable, "-I", programs.CLIENT, mode, address, str(port), str(seconds)]
        with self._process(argv, host, text=True, stdin=subprocess.PIPE) as process:
            self._await_start(process)
            yield process

    @staticmethod
    def report(process: subprocess.Popen[str], seconds: float) -> Report:
        """Return what the client reports at its end; raises LabError when it gives nothing."""
        try:
            out, err = process.communicate(timeout=seconds + END_S)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"client {process.args!r}: no end after {seconds + END_S:g} s") from error
        if process.returncode:
            raise LabError(f"client {process.args!r}: status {process.returncode}: {err.strip()}")
        report: Report = json.loads(out)
        return report

    @contextmanager
    def _process(
        self, argv: Sequence[str], host: str = CLIENT, **options: Any
    ) -> Iterator[subprocess.Popen[str]]:
        options = {"cwd": "/", "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        with self.lab.popen(host, argv, **options) as process:
            try:
                yield process
            finally:
                process.kill()
                for stream in (process.stdin, process.stdout, process.stderr):
                    with suppress(BrokenPipeError):
                        if stream:
                            stream.close()

    @staticmethod
    def _await_start(process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        line = process.stderr.readline()
        if not line.startswith("started"):
            rest = process.stderr.read()
            raise LabError(f"client {process.args!r}: it did not start: {(line + rest).strip()}")

    def _prepare_node(self, host: Host) -> None:
        network.sysctl(host, {"net.core.somaxconn": 65535, "net.ipv4.tcp_max_syn_backlog": 65535})
        if self.setup.prepare and not (host.home / "prepared").exists():
            self.setup.prepare(host)
            (host.home / "prepared").touch()
