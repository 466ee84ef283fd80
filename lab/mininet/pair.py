#!/usr/bin/python3
"""The pair in mininet: a download that outlives a fault of the host that serves it, and a plot of it.

Run it with the system's python3 (Debian's python3 has mininet, package `mininet`):

    lab/mininet/pair.py [--fault crash-host] [--size BYTES] [--json] [--points FILE.csv] [--switch ovs]

Everything happens inside private network, mount and pid namespaces, which end with the script. The exit
status is 0 only when the connection survived and the hash is equal.

Both nodes offer a random file by nginx. Once they are in step the client downloads it over a link of 100
Mbit/s. At half of it the fault strikes. The gap is the longest silence of the client from then on.
`--points` writes bytes over time, which `lab/mininet/plot.py` draws.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from pathlib import Path
from typing import Any

from mininet.nodelib import LinuxBridge

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.download import NGINX_COMMAND, Download, make_file, make_site, receive
from lab.errors import LabError
from lab.mininet.net import FAULTS, PairNet, go_private
from lab.mininet.ovs import UserBridge
from lab.mininet.parts import WireLink
from lab.network import CLIENT, NODES, SERVICE4
from lab.status import newest_takeover
from lab.wire import Terms

CLIENT_MBIT = 100


def main() -> int:
    """Parse the arguments, go into private namespaces, tell the story; returns the exit status."""
    parser = argparse.ArgumentParser(description="A download that outlives its server, in mininet.")
    parser.add_argument(
        "--fault", choices=list(FAULTS), default="crash-host", help="what happens to the primary"
    )
    parser.add_argument("--size", type=int, default=50_000_000, help="bytes to download")
    parser.add_argument("--points", type=Path, help="write bytes over time to this CSV file")
    parser.add_argument("--switch", choices=["bridge", "ovs"], default="bridge", help="ovs: Open vSwitch")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the story")
    options = parser.parse_args()
    go_private()
    result = run(options.fault, options.size, options.points, options.switch, quiet=options.json)
    if options.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0 if result["survived"] and result["hash_equal"] else 1


def run(fault: str, size: int, points: Path | None, switch: str, quiet: bool) -> dict[str, Any]:
    """Build the network and the pair, download while the fault strikes; returns the result for --json."""

    def tell(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    link = {"cls": WireLink, "terms": Terms(rate_mbit=CLIENT_MBIT)}
    net = PairNet(
        [f"80/tcp={NGINX_COMMAND}"],
        topo_options={"client_link": link},
        switch=UserBridge if switch == "ovs" else LinuxBridge,
    )
    expected = make_file(net.home / "payload", size)
    for node in NODES:
        make_site(net.root(node), net.home / "payload")
    try:
        net.start()
        tell(f"the pair is in step, {net.node_in_role('primary')} serves; downloading {size:,} bytes")
        result, report = download(net, fault, size, points, tell)
        takeover = newest_takeover(net.status(), report.get("target", ""))
        cause = takeover["cause"] if takeover else None
        result |= {"hash_equal": result.pop("sha256") == expected, "cause": cause, "takeover": takeover}
        return {"fault": fault, "target": report.get("target"), **result}
    finally:
        net.stop()


def download(
    net: PairNet, fault: str, size: int, points: Path | None, tell: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Download with curl; at half of it the fault strikes. Returns the client's side of the result, and what
    the fault was."""
    report: dict[str, Any] = {}
    received: list[int] = []

    def on_progress(count: int) -> None:
        received.append(count)
        if not report and count >= size // 2:
            report.update(net.fault(fault))
            tell(f"{fault} of {report['target']} at byte {count:,}")

    curl = net[CLIENT].popen(["curl", "-sS", "--max-time", "60", f"http://{SERVICE4}/payload"])
    got = receive(curl.stdout, on_progress)
    exit_status, words = curl.wait(), curl.stderr.read().decode(errors="replace").strip()
    struck_s = report.get("at_s", time.monotonic())
    if points is not None:
        write_points(points, got, received, struck_s)
    result = {
        "survived": exit_status == 0 and got.received == size and bool(report),
        "bytes": got.received,
        "sha256": got.sha256,
        "gap_ms": got.gap_ms(struck_s),
    }
    return result | ({"error": words} if words else {}), report


def write_points(file: Path, got: Download, received: list[int], struck_s: float) -> None:
    """Write seconds from the fault on, and bytes received by then."""
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["seconds_after_fault", "bytes"])
        for at_s, count in zip(got.arrivals_s, received, strict=True):
            rows.writerow([f"{at_s - struck_s:.6f}", count])


def show(result: dict[str, Any]) -> None:
    """The verdict and the summary for people."""
    good = result["survived"] and result["hash_equal"]
    print(f"\nThe connection {'survived' if good else 'was LOST'}.")
    for key in ("bytes", "hash_equal", "fault", "target", "gap_ms", "error"):
        if key in result:
            print(f"  {key:<14}{result[key]}")
    for key, value in (result["takeover"] or {}).items():
        print(f"  {key:<14}{value}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LabError as problem:
        sys.exit(f"error: {problem}")
