"""Switchovers under clients that open a connection for each request: what the slowest requests cost.

`python -m lab.storm NAME` asks the primary of a running lab again and again; `clients()` is what runs in the
client's host. A request is a line that a web server answers and ends, or a datagram. The client's kernel
counts what it had to send again, so no timer of its goes unseen.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from lab.errors import LabError
from lab.faults import make_fault
from lab.network import SERVICE4

_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_TIMEOUT_S = 20.0
_UDP_TIMEOUT_S = 1.0
_ROOT = Path(__file__).resolve().parents[1]
_COUNTED = ("TCPSynRetrans", "TCPTimeouts", "TCPLossProbes", "RetransSegs")
_SLOWEST = 10
_END_S = 60.0


@dataclass
class Request:
    """What a request cost: until it was connected, had a first byte, and the end; and how much of it its
    process waited for a processor."""

    begun_s: float = 0.0
    steps_ms: list[float] = field(default_factory=list)
    ran_late_ms: float = 0.0
    wrong: str = ""

    @property
    def took_ms(self) -> float:
        """All of it."""
        return sum(self.steps_ms)


def _waited_ms() -> float:
    """How long this thread has waited for a processor, in its life."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e6


def _request(address: str, port: int, udp: bool) -> Request:
    """Ask once; from a port of its own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    done, heard, waited_ms = Request(time.monotonic()), 0, _waited_ms()
    last_s = done.begun_s

    def step() -> None:
        nonlocal last_s
        now_s = time.monotonic()
        done.steps_ms.append((now_s - last_s) * 1000)
        last_s = now_s

    try:
        with socket.socket(family, kind) as sock:
            sock.settimeout(_UDP_TIMEOUT_S if udp else _TIMEOUT_S)
            sock.connect((address, port))
            step()
            sock.sendall(_REQUEST)
            while data := sock.recv(65536):
                if not heard:
                    step()
                heard += len(data)
                if udp:
                    break
        done.wrong = "" if heard else "an empty answer"
    except OSError as error:
        done.wrong = str(error)
    step()
    done.ran_late_ms = _waited_ms() - waited_ms
    return done


def _client(address: str, port: int, udp: bool, seconds: float) -> list[Request]:
    end, done = time.monotonic() + seconds, []
    while time.monotonic() < end:
        done.append(_request(address, port, udp))
    return done


def _kernel() -> dict[str, int]:
    """What this host's kernel has counted of `_COUNTED`."""
    counts: dict[str, int] = {}
    for file in ("/proc/net/netstat", "/proc/net/snmp"):
        rows = [line.split() for line in Path(file).read_text().splitlines()]
        for names, values in zip(rows[::2], rows[1::2], strict=True):
            counts |= {n: int(v) for n, v in zip(names, values, strict=True) if n in _COUNTED}
    return counts


def _shown(one: Request) -> dict[str, Any]:
    steps = [round(ms, 1) for ms in one.steps_ms]
    return {"begun_s": round(one.begun_s, 4), "steps_ms": steps, "ran_late_ms": round(one.ran_late_ms, 1)}


def clients(address: str, port: int, udp: bool, number: int, seconds: float) -> dict[str, Any]:
    """Run so many clients, a process each; return what they and the kernel saw."""
    before = _kernel()
    with ProcessPoolExecutor(number) as pool:
        running = [pool.submit(_client, address, port, udp, seconds) for _ in range(number)]
        done = sorted((one for each in running for one in each.result()), key=lambda r: r.took_ms)
    errors = [one.wrong for one in done if one.wrong]
    after = _kernel()
    return {
        "requests": len(done),
        **{f"p{p}_ms": round(done[int(len(done) * p / 100)].took_ms, 1) for p in (50, 99, 99.9)},
        "max_ms": round(done[-1].took_ms, 1),
        "over_50_ms": sum(one.took_ms > 50 for one in done),
        "errors": len(errors),
        "wrong": errors[:10],
        "slowest": [_shown(one) for one in reversed(done[-_SLOWEST:])],
        **{name: after[name] - before[name] for name in _COUNTED},
    }


def storm(
    name: str,
    switchovers: int,
    number: int = 8,
    address: str = SERVICE4,
    port: int = 80,
    udp: bool = False,
) -> dict[str, Any]:
    """Do so many switchovers, each as soon as the pair is in step, under the clients' load. Raises
    LabError."""
    from lab.lifecycle import Lab
    from lab.network import CLIENT

    lab = Lab(name)
    lab.wait("synced", 30)
    words = ["--clients", *(["--udp"] if udp else []), address, str(port), str(number)]
    argv = ["env", f"PYTHONPATH={_ROOT}", sys.executable, "-m", "lab.storm", *words]
    lab.exec(CLIENT, [*argv, "0.2"])  # neighbours and caches are warm
    seconds, begun = 2.0 * switchovers + 2, time.monotonic()
    at_s: list[float] = []
    with lab.popen(CLIENT, [*argv, str(seconds)], stdout=-1, text=True) as client:
        while len(at_s) < switchovers and time.monotonic() < begun + seconds - 0.3:
            other = lab.node_in_role("backup")
            at_s.append(make_fault(lab, "switchover")["at_s"])
            lab.wait(f"primary={other}", 30)
            lab.wait("synced", 30)
            time.sleep(0.2)
        try:
            said, _ = client.communicate(timeout=seconds + _END_S)
        except subprocess.TimeoutExpired:
            raise LabError(f"the clients of the storm did not end {_END_S:g} s after their time") from None
        report: dict[str, Any] = json.loads(said)
    for slow in report["slowest"]:  # how long before it ended the last switchover was
        end_s = slow.pop("begun_s") + sum(slow["steps_ms"]) / 1000
        before = [s for s in at_s if s <= end_s]
        slow["after_switchover_ms"] = round((end_s - before[-1]) * 1000, 1) if before else None
    return {"switchovers": len(at_s), **report}


@click.command()
@click.argument("words", nargs=-1)
@click.option("--clients", "as_clients", is_flag=True, help="Be the clients: ADDRESS PORT NUMBER SECONDS.")
@click.option("--switchovers", default=20, show_default=True)
@click.option("--number", default=8, show_default=True, help="Of clients.")
@click.option("--address", default=SERVICE4, show_default=True)
@click.option("--port", default=80, show_default=True)
@click.option("--udp", is_flag=True, help="Each question is a datagram, from a port of its own.")
def main(
    words: tuple[str, ...],
    as_clients: bool,
    switchovers: int,
    number: int,
    address: str,
    port: int,
    udp: bool,
) -> None:
    """Let a running lab's nodes take turns under clients that open a connection for each request."""
    if as_clients:
        where, at, many, seconds = words
        report = clients(where, int(at), udp, int(many), float(seconds))
    else:
        report = storm(words[0] if words else "default", switchovers, number, address, port, udp)
    click.echo(json.dumps(report))


if __name__ == "__main__":
    main()
