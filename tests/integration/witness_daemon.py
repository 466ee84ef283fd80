"""A real `fttcp witness` on the loopback, to be killed and started again."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fttcp.wire import keyfile

ROOT = Path(__file__).parents[2]
_FTTCP = [sys.executable, "-c", "from fttcp.cli.main import main; main()"]


def free_port() -> int:
    """A UDP port of the loopback that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class WitnessDaemon:
    """The daemon, its files and its address."""

    def __init__(self, home: Path, lease_ms: int = 1000) -> None:
        self.port, self.key_file = free_port(), home / "key"
        self.config, self.log = home / "witness.toml", home / "witness.log"
        keyfile.generate(self.key_file)
        self.config.write_text(
            f'listen = ["127.0.0.1:{self.port}"]\ndata_file = "{home}/witness.db"\nlease_ms = {lease_ms}\n'
            f'[[cluster]]\nname = "lab"\nkey_file = "{self.key_file}"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None
        done = self.call("--init")
        assert done.returncode == 0, done.stderr

    @property
    def pid(self) -> int:
        """Of the running daemon."""
        assert self._process is not None
        return self._process.pid

    def call(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the command with these options to its end."""
        command = [*_FTTCP, "witness", "--config", str(self.config), *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    def status(self) -> dict[str, Any]:
        """What the daemon says of the cluster."""
        done = self.call("--status", "--json")
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)["lab"]
        return status

    def start(self, under: Sequence[str] = ()) -> None:
        """Start it, ``under`` another command perhaps; returns at once."""
        with self.log.open("ab") as log:
            command = [*under, *_FTTCP, "witness", "--config", str(self.config)]
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it with this signal; return its exit status."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(20)

    def close(self) -> None:
        """End it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
