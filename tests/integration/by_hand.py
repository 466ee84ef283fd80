"""A pair whose daemons are started by hand, their programmable engine opened in a way of the test's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import NODES, SERVICE4
from lab.nodeconfig import write_node_files
from lab.status import is_synced

ROOT = Path(__file__).parents[2]
SERVE = (
    "7/tcp=socat TCP6-LISTEN:7,ipv6only=0,fork,reuseaddr,nodelay PIPE",
    "80/tcp=python3 -m http.server --bind :: 80",
    f"1700/udp=socat UDP4-RECVFROM:1700,bind={SERVICE4},fork PIPE",
)
SIZE = 3_000_000
ALPHA_FIRST = "timing.startup_wait_ms=30000"
"""The node that comes first becomes the primary, also if its server needs long to start on a busy machine."""


@contextmanager
def by_hand(
    suffix: str, options: Mapping[str, tuple[str, ...]], settings: tuple[str, ...] = (), size: int = SIZE
) -> Iterator[Lab]:
    """Yield a pair in step that serves the file `f`; `options`: of tests.integration.programmable_node."""
    lab = Lab(f"test-prog-{suffix}-{os.getpid()}")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        lab.up(bare=True)
        for node in NODES:
            home = lab.home / node
            (home / "root" / "f").write_bytes(content(size))
            config = write_node_files(node, home, "5a" * 32, SERVE, (ALPHA_FIRST, *settings))
            module = ("-m", "tests.integration.programmable_node")
            command = [sys.executable, *module, str(config), *options[node]]
            with lab.log(node).open("ab") as log:
                lab.keep_child(
                    lab.popen(node, command, cwd=home / "root", env=environment, stdout=log, stderr=log)
                )
        await_condition(lambda: is_synced(lab.status()), 30.0, f"lab {lab.name}: waiting for the pair")
        yield lab
    finally:
        lab.down()


def content(size: int = SIZE) -> bytes:
    """Return the file that both nodes serve."""
    ramp = bytes(range(251))
    return (ramp * (size // len(ramp) + 1))[:size]
