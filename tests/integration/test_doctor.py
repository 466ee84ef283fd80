"""The doctor on a real machine: it leaves everything as it was, and sees what a configuration names."""

import json
import subprocess
import sys
from pathlib import Path

from tests.integration.netns import Net, needs_root, net

pytestmark = needs_root
__all__ = ["net"]

ROOT = Path(__file__).parents[2]
DOCTOR = "from fttcp.cli.doctor import doctor; doctor()"
CONFIG = """
[node]
name = "alpha"
cluster = "test"
service_interface = "svc0"
peer_interface = "peer0"
key_file = "{key}"
[peer]
name = "beta"
[[link]]
interface = "peer0"
local = "10.78.0.1"
remote = "10.78.0.2"
remote_v6 = "fd78::2"
[[group]]
name = "web"
addresses = ["10.77.0.100", "fd77::100"]
ports = ["80/tcp"]
command = "true"
"""


def test_the_doctor_sees_the_site_and_changes_nothing(net: Net, tmp_path: Path) -> None:
    key, config = tmp_path / "key", tmp_path / "node.toml"
    key.touch(mode=0o600)
    config.write_text(CONFIG.format(key=key))
    net.node.run("ip", "addr", "add", "fd77::100/128", "dev", "svc0", "nodad")
    net.node.run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", "80", "-j", "REDIRECT")
    before = net.snapshot()
    command = net.node.command(sys.executable, "-c", DOCTOR, "--json", "--config", str(config))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert net.snapshot() == before
    status = {check["name"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert status["address fd77::100"] == "fail" and status["address 10.77.0.100"] == "ok"
    assert (
        status["link peer0"] == status["interface svc0"] == status["default route"] == status["key"] == "ok"
    )
    assert status["translation"] == "warn"
    assert done.returncode == 1
