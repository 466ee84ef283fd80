"""Makes the recordings in tests/vectors anew, which a change of the channel's format asks for.

`python -m tests.integration.make_recordings`, as root. Each pair serves a download and an echo, and loses its
primary in the middle of another download.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.lifecycle import Lab
from lab.network import NODES, SERVICE4, SERVICE6
from tests.integration.by_hand import by_hand
from tests.replay import ROOT

SPACES = {
    "crash": (),
    "shifted": ("experiment.service_iss=4294910000", "experiment.service_ts=5000"),
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
        curl.stdout.read(SIZE // 3)
        lab.fault("crash-host", "alpha")
        curl.communicate()


def main() -> None:
    """Write one file for each node of each pair."""
    for name, settings in SPACES.items():
        with tempfile.TemporaryDirectory() as directory:
            options = {node: ("--record", f"{directory}/{node}") for node in NODES}
            with by_hand(f"make-{name}", options, settings, SIZE) as lab:
                traffic(lab)
            for node in NODES:
                steps = (Path(directory) / node).read_text().splitlines(keepends=True)[:-1]
                packed = gzip.compress("".join(steps).encode(), 9, mtime=0)
                (ROOT / "tests/vectors" / f"{name}-{node}.steps.gz").write_bytes(packed)


if __name__ == "__main__":
    main()
