"""TLS and SSH that unmodified servers end themselves go on when their host dies."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab import experiment
from lab.errors import LabError
from lab.lifecycle import Lab
from tests.integration.lockstep_servers import SIZE, curl, prepare, specs, ssh

TLS = {
    "tls1.3": ("--tlsv1.3",),
    "tls1.3-chacha20": ("--tlsv1.3", "--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"),
    "tls1.2": ("--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256"),
    "tls1.2-ecdsa": ("--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"),
}
FAULTS = ("crash-host", "kill-server", "switchover")


class Place(NamedTuple):
    """A lab whose servers are kept in step, and what they serve."""

    lab: Lab
    home: Path
    content: bytes

    def told(self, node: str) -> dict[str, Any]:
        """The group's status on a node."""
        return dict(self.lab.ask(node, {"op": "status"}, timeout_s=5.0)["groups"][0])

    def connections(self, node: str) -> list[dict[str, Any]]:
        """What is known of its connections."""
        request = {"op": "connections", "limit": 10, "all": True}
        return list(self.lab.ask(node, request, timeout_s=5.0)["connections"])


@pytest.fixture(scope="module")
def module_place() -> Iterator[Place]:
    """Made once; /tmp is one for all hosts of a lab."""
    home = Path(tempfile.mkdtemp(prefix="fttcp-lockstep-", dir="/tmp"))
    lab = Lab(f"test-lockstep-{os.getpid()}")
    try:
        content = prepare(home)
        lab.up(specs(home), ("lockstep=connection",))
        yield Place(lab, home, content)
    finally:
        lab.down()
        shutil.rmtree(home)


@pytest.fixture
def place(module_place: Place) -> Place:
    """In step again."""
    try:
        experiment.mend(module_place.lab)
    except LabError:
        module_place.lab.down()
        module_place.lab.up(specs(module_place.home), ("lockstep=connection",))
    return module_place


def goes_on(place: Place, argv: list[str], fault: str) -> None:
    """Have a client pass on what it is given, and stop reading in the middle while the pair is disturbed;
    nothing is missing or wrong."""
    with place.lab.popen("client", argv, stdout=subprocess.PIPE) as client:
        got = client.stdout.read(SIZE // 4)
        primary = place.lab.node_in_role("primary")
        assert place.told(primary)["flows"]["protected"] == 1, place.connections(primary)
        place.lab.fault(fault)
        got += client.stdout.read()
    assert client.returncode == 0
    assert got == place.content


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tls", TLS)
def test_a_download_over_https_goes_on(place: Place, tls: str, fault: str) -> None:
    """nginx with master and worker, and addresses at random, as Debian has it."""
    goes_on(place, curl(*TLS[tls]), fault)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_over_ssh_goes_on(place: Place, fault: str) -> None:
    """OpenSSH, which executes itself anew for each connection, and locks itself into a sandbox."""
    goes_on(place, ssh(place.home, f"cat {place.home}/files/file"), fault)


def test_status_tells_of_the_library(place: Place) -> None:
    """On both nodes, in each main process; each connection had an identity."""
    done: subprocess.CompletedProcess[str] = place.lab.exec("client", curl(path="hello"))
    assert done.stdout == "hello\n"
    for node in ("alpha", "beta"):
        told = place.told(node)["lockstep"]
        assert told["outside"] == [] and len(told["inside"]) >= 3
        assert told["drawn"]["unknown"] == 0 and told["strangers"] == []
        assert told["drawn"]["of_connections"] > 0 or node == "beta"
