"""What a kernel takes of a client's segments, and what it refuses, is what `accept.h` says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.netns import Namespace, needs_root

pytestmark = needs_root
DRIVER = Path(__file__).with_name("kernel_decisions.py")
ROOT = DRIVER.parents[2]
JUDGEMENTS = ("taken", "ends", "time", "sequence", "reset", "syn", "no-ack", "old-ack", "unsent")
CONNECTIONS = 400  # about 7,000 segments


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """A namespace in which tun devices can be made."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("no /dev/net/tun: the driver's segments need a way to the kernel")
    namespace = Namespace()
    try:
        yield namespace
    finally:
        namespace.close()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_kernel_moves_as_was_judged(namespace: Namespace, family: int, seed: int) -> None:
    """Random segments: sequence numbers, acknowledgements and times at and around every border, all flags."""
    command = namespace.command(sys.executable, str(DRIVER), str(family), str(seed), str(CONNECTIONS))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert not told["differences"], "\n".join(told["differences"][:5])
    assert min(told["judged"].get(one, 0) for one in JUDGEMENTS) >= 100, told["judged"]
    assert told["judged"].get("unknown", 0) <= CONNECTIONS // 4, told["judged"]
