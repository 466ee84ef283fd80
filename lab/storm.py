"""Switchovers under clients that open a connection for each request: what the slowest requests cost.

`python -m lab.storm NAME` asks the primary of a running lab again and again; `clients()` is what runs in the
client's host. A request is a line that a web server answers and ends. The client's kernel counts what it had
to send again, so no timer of its goes unseen.
"""

from __future__ import annotations

import json
import multiprocessing
import socket
import sys
import time
from pathlib import Path
from typing import Any

import click

from lab.network import SERVICE4

_REQUEST = b"GET / HTTP/1.0\r\n\r\n"
_TIMEOUT_S = 20.0
_ROOT = Path(__file__).resolve().parents[1]
_COUNTED = ("TCPSynRetrans", "TCPTimeouts", "RetransSegs")


def _request(address: str, port: int) -> str:
    """Ask once; return what is wrong, '' for nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    heard = 0
    try:
        with socket.socket(family) as sock:
            sock.settimeout(_TIMEOUT_S)
            sock.connect((address, port))
            sock.sendall(_REQUEST)
            while data := sock.recv(65536):
                heard += len(data)
    except OSError as error:
        return str(error)
    return "" if heard else "an empty answer"


def _client(address: str, port: int, seconds: float, answers: Any) -> None:
    end, took_ms, errors = time.monotonic() + seconds, [], []
    while (begun := time.monotonic()) < end:
        wrong = _request(address, port)
        took_ms.append((time.monotonic() - begun) * 1000)
        if wrong:
            errors.append(wrong)
    answers.put((took_ms, errors))


def _kernel() -> dict[str, int]:
    """What this host's kernel has counted of `_COUNTED`."""
    counts: dict[str, int] = {}
    for file in ("/proc/net/netstat", "/proc/net/snmp"):
        rows = [line.split() for line in Path(file).read_text().splitlines()]
        for names, values in zip(rows[::2], rows[1::2], strict=True):
            counts |= {n: int(v) for n, v in zip(names, values, strict=True) if n in _COUNTED}
    return counts


def clients(address: str, port: int, number: int, seconds: float) -> dict[str, Any]:
    """Run so many clients, a process each; return what they and the kernel saw."""
    answers: Any = multiprocessing.SimpleQueue()
    before = _kernel()
    running = [
        multiprocessing.Process(target=_client, args=(address, port, seconds, answers)) for _ in range(number)
    ]
    for one in running:
        one.start()
    told = [answers.get() for _ in running]
    for one in running:
        one.join()
    took_ms = sorted(ms for many, _ in told for ms in many)
    errors = [error for _, some in told for error in some]
    after = _kernel()
    return {
        "requests": len(took_ms),
        **{f"p{p}_ms": round(took_ms[int(len(took_ms) * p / 100)], 1) for p in (50, 99, 99.9)},
        "max_ms": round(took_ms[-1], 1),
        "over_50_ms": sum(ms > 50 for ms in took_ms),
        "errors": errors[:10],
        **{name: after[name] - before[name] for name in _COUNTED},
    }


def storm(
    name: str, switchovers: int, number: int = 8, address: str = SERVICE4, port: int = 80
) -> dict[str, Any]:
    """Do so many switchovers, each as soon as the pair is in step, under the clients' load. Raises
    LabError."""
    from lab.lifecycle import Lab
    from lab.network import CLIENT

    lab = Lab(name)
    lab.wait("synced", 30)
    words = ["--clients", address, str(port), str(number)]
    argv = ["env", f"PYTHONPATH={_ROOT}", sys.executable, "-m", "lab.storm", *words]
    lab.exec(CLIENT, [*argv, "0.2"])  # neighbours and caches are warm
    seconds, begun, done = 2.0 * switchovers + 2, time.monotonic(), 0
    with lab.popen(CLIENT, [*argv, str(seconds)], stdout=-1, text=True) as client:
        assert client.stdout is not None
        while done < switchovers and time.monotonic() < begun + seconds - 0.3:
            other = lab.node_in_role("backup")
            lab.fault("switchover")
            done += 1
            lab.wait(f"primary={other}", 30)
            lab.wait("synced", 30)
            time.sleep(0.2)
        report: dict[str, Any] = json.loads(client.stdout.read())
    return {"switchovers": done, **report}


@click.command()
@click.argument("words", nargs=-1)
@click.option("--clients", "as_clients", is_flag=True, help="Be the clients: ADDRESS PORT NUMBER SECONDS.")
@click.option("--switchovers", default=20, show_default=True)
@click.option("--number", default=8, show_default=True, help="Of clients.")
@click.option("--address", default=SERVICE4, show_default=True)
@click.option("--port", default=80, show_default=True)
def main(
    words: tuple[str, ...], as_clients: bool, switchovers: int, number: int, address: str, port: int
) -> None:
    """Let a running lab's nodes take turns under clients that open a connection for each request."""
    if as_clients:
        where, at, many, seconds = words
        report = clients(where, int(at), int(many), float(seconds))
    else:
        report = storm(words[0] if words else "default", switchovers, number, address, port)
    click.echo(json.dumps(report))


if __name__ == "__main__":
    main()
