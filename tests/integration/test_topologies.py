"""The topology files of munet and containerlab: what they name is there; munet's pair takes over."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fttcp.config import load
from lab.hosts import await_condition
from lab.lifecycle import fttcp_program
from tests.integration.netns import needs_root

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
PLACE = ROOT / "lab/topologies"
NODES = ("alpha", "beta")


def containerlab() -> dict[str, Any]:
    """The topology of containerlab."""
    return dict(yaml.safe_load((PLACE / "pair.clab.yml").read_text())["topology"])


@pytest.mark.parametrize("node", NODES)
def test_the_configuration_of_a_node_is_good(node: str, tmp_path: Path) -> None:
    key, text = tmp_path / "key", (PLACE / f"{node}.toml").read_text()
    subprocess.run([fttcp_program(), "keygen", str(key)], check=True, capture_output=True)
    (tmp_path / "node.toml").write_text(text.replace("/run/topology/key", str(key)))
    config = load(tmp_path / "node.toml")
    assert config.node.name == node


def test_links_of_containerlab_lead_to_what_its_nodes_use() -> None:
    topology = containerlab()
    ends = {end for link in topology["links"] for end in link["endpoints"]}
    assert {end.split(":")[0] for end in ends} == set(topology["nodes"])
    used = {
        f"{name}:{interface}"
        for name, node in topology["nodes"].items()
        for command in node["exec"]
        for interface in re.findall(r"\bdev (\w+)|set (\w+) master", command)
        for interface in filter(None, interface)
    }
    assert used == ends


def test_addresses_are_those_of_the_configuration() -> None:
    munet = yaml.safe_load((PLACE / "munet.yaml").read_text())["topology"]
    for node in NODES:
        text = (PLACE / f"{node}.toml").read_text()
        own = set(re.findall(r'^local = "(.*)"', text, re.M))
        (told,) = (one for one in munet["nodes"] if one["name"] == node)
        assert own == {connection["ip"].split("/")[0] for connection in told["connections"]}
        executed = " ".join(containerlab()["nodes"][node]["exec"])
        assert own == {address.split("/")[0] for address in re.findall(r"add (10\S+)", executed)}


def test_what_the_image_needs_is_built() -> None:
    recipe = (PLACE / "Containerfile").read_text()
    packages = re.findall(r"^Package: (\S+)", (ROOT / "packaging/debian/control").read_text(), re.M)
    assert set(re.findall(r"(fttcp[a-z-]*)_\*", recipe)) == set(packages)


class Munet:
    """A topology that munet runs, in namespaces of its own: it looks at its process 1, which has to be one of
    root's there."""

    def __init__(self, directory: Path) -> None:
        self._run = directory / "run"
        self.log = directory / "log"
        place = directory / "topology"
        shutil.copytree(PLACE, place)
        subprocess.run([fttcp_program(), "keygen", str(place / "key")], check=True, capture_output=True)
        self._env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        command = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
        command += [sys.executable, "-m", "munet", "-c", str(place / "munet.yaml")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "-d", str(self._run), "--no-cli"], env=self._env, stdout=log, stderr=log
            )

    def exec(self, node: str, *command: str) -> str:
        """Run a command in a node; return what it prints, nothing if it fails."""
        outer = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if not outer:
            return ""
        entered = ["nsenter", "-t", outer[0], "-m", "-n", "-p", sys.executable, "-m", "munet.mucmd"]
        entered += ["-d", str(self._run), node, *command]
        done = subprocess.run(entered, env=self._env, text=True, capture_output=True, timeout=20)
        return done.stdout if done.returncode == 0 else ""

    def stop(self) -> None:
        """End it, and with it all that runs in it."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def munet(tmp_path: Path) -> Iterator[Munet]:
    """The pair in munet."""
    pytest.importorskip("munet")
    topology = Munet(tmp_path)
    yield topology
    topology.stop()


@needs_root
@pytest.mark.flaky(
    reruns=2, only_rerun=["pgrep", "^MachineStoodStillError"]
)  # munet may look for a child too early
def test_munet_has_a_pair_that_takes_over(munet: Munet) -> None:
    def in_step() -> bool:
        assert munet.process.poll() is None, munet.log.read_text()
        return munet.exec("alpha", "fttcp", "status").count("in step") == 1

    await_condition(in_step, 30, "munet's pair in step", interval_s=0.1)
    get = ("curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", "http://10.77.0.100/")
    assert munet.exec("client", *get) == "200"
    munet.exec("alpha", "sh", "-c", "kill -KILL $(cat /run/daemon.pid)")
    await_condition(lambda: "primary (solo)" in munet.exec("beta", "fttcp", "status"), 30, "a takeover", 0.1)
    assert munet.exec("client", *get) == "200"
