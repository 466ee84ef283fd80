"""Makes the recordings in tests/vectors anew: the packets that come to a real pair, and none of its own.

`python -m tests.integration.make_recordings`, as root. Each pair serves a download and an echo, and loses its
primary in the middle of another download.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.faults import make_fault
from lab.lifecycle import Lab
from lab.network import NODES, SERVICE4, SERVICE6
from tests.integration.by_hand import ROOT, by_hand
from tests.replay import CONFIG

SPACES = {
    "crash": {},
    "shifted": {"service_iss": 4294910000, "service_ts": 5000},
}
SIZE = 100_000
TALK = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as sock, sock.makefile("rb") as heard:
    for number in range(5):
        sock.sendall(b"hello %d\\n" % number)
        assert heard.readline() == b"hello %d\\n" % number
"""


def traffic(lab: Lab) -> None:
    """Move some bytes both ways, and crash the primary while more of them are under way."""
    url = f"http://{SERVICE4}/f"
    lab.exec("client", ["curl", "-sS", "-m", "20", "-o", "/dev/null", url])
    lab.exec("client", [sys.executable, "-c", TALK, SERVICE6, "7"])
    slow = ["curl", "-sS", "-m", "20", "--limit-rate", "50k", url]
    with lab.popen("client", slow, stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        curl.stdout.read(SIZE // 3)
        make_fault(lab, "crash-host", "alpha")
        assert len(curl.communicate()[0]) == SIZE - SIZE // 3


def main() -> None:
    """Write one file for each node of each pair."""
    for name, spaces in SPACES.items():
        with tempfile.TemporaryDirectory() as directory:
            os.environ["RECORD"] = directory
            options = dict.fromkeys(NODES, ("--callback", "tests.integration.callbacks:take_notes"))
            settings = tuple(f"experiment.{key}={value}" for key, value in spaces.items())
            with by_hand(f"record-{name}", options, settings, SIZE) as lab:
                traffic(lab)
            numbers = CONFIG | {
                "force_iss": spaces.get("service_iss", 0),
                "force_ts": spaces.get("service_ts", 0),
            }
            config = " ".join(
                f"{key}={value}" for key, value in (numbers | {"shift_spaces": int(bool(spaces))}).items()
            )
            for node in NODES:
                steps = f"config {config}\n" + (Path(directory) / node).read_text()
                target = ROOT / "tests/vectors" / f"{name}-{node}.steps.gz"
                target.write_bytes(gzip.compress(steps.encode(), mtime=0))
                print(target, len(steps.splitlines()), "steps")


if __name__ == "__main__":
    main()
