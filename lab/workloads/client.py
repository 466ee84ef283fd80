"""Runs one workload's client: ``python -m lab.workloads.client WORKLOAD --address A --seed S --json``.

Writes ``started`` on stderr when its traffic flows, and its result on stdout. The exit status is 0 only when
every byte was right.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys

from lab.workloads.base import Session, note_started, run
from lab.workloads.registry import WORKLOADS


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="client of one workload, which verifies every byte")
    parser.add_argument("workload", choices=sorted(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--address", required=True, help="the service's address, IPv4 or IPv6")
    parser.add_argument("--port", type=int, help="default: the workload's own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duration", type=float, default=5.0, help="seconds that the traffic shall last")
    parser.add_argument("--bound", type=float, default=5.0, help="a longer stall, in seconds, is a failure")
    parser.add_argument("--rate", type=int, default=12_000_000, help="bytes per second, 0: no limit")
    parser.add_argument("--size", type=int, default=0, help="bytes to move (default: rate * duration)")
    parser.add_argument("--client-iss", type=int, help="ISS of the client (needs CAP_NET_ADMIN)")
    parser.add_argument("--failures", type=int, default=1, help="how many nodes may fail meanwhile")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main() -> None:
    """Run the workload and report."""
    options = parse()
    workload = WORKLOADS[options.workload]
    port = options.port or workload.port(6 if ":" in options.address else 4)
    session = Session(
        options.address,
        port,
        seed=options.seed,
        duration_s=options.duration,
        bound_s=options.bound,
        rate=options.rate,
        size=options.size,
        client_iss=options.client_iss,
        failures=options.failures,
        on_started=note_started,
    )
    # told that enough has happened: workloads that may end at any time then do
    signal.signal(signal.SIGUSR1, lambda *_: setattr(session, "over", True))
    result = run(session, workload.body)
    if options.json:
        print(json.dumps(result.as_dict()), flush=True)
    else:
        print(
            f"{workload.name}: {'every byte is right' if result.ok else result.why}; "
            f"{result.bytes_down} bytes down, {result.bytes_up} up, {result.requests} requests, "
            f"largest gap {result.gap_ms} ms"
        )
    sys.exit(0 if result.ok else 1)


if __name__ == "__main__":
    main()
