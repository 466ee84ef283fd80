"""Open vSwitch in user space, with daemons of the network's own: it needs no kernel module and no service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mininet.node import OVSBridge, OVSSwitch

from lab.errors import LabError
from lab.mininet.net import is_private

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


class UserBridge(OVSBridge):  # type: ignore[misc]
    """A learning switch of the user space datapath. It is for networks behind `go_private`, with which its
    daemons end."""

    _directory: TemporaryDirectory[str]

    @classmethod
    def setup(cls) -> None:
        """Called by mininet before the first switch: start the daemons. Raises LabError."""
        if not is_private():
            raise LabError("UserBridge: call go_private() first: its daemons end with those namespaces")
        if not SCHEMA.exists():
            raise LabError(f"UserBridge: there is no {SCHEMA}; install Debian's openvswitch-switch")
        cls._directory = TemporaryDirectory(prefix="fttcp-ovs-")  # until the script ends
        home = cls._directory.name
        os.environ |= {"OVS_RUNDIR": home, "OVS_LOGDIR": home, "OVS_DBDIR": home}
        socket = f"unix:{home}/db.sock"
        _run("ovsdb-tool", "create", f"{home}/conf.db", str(SCHEMA))
        _run("ovsdb-server", f"{home}/conf.db", f"--remote=p{socket}", "--detach", "--pidfile", "--log-file")
        _run("ovs-vsctl", "--no-wait", "init")
        _run("ovs-vswitchd", socket, "--detach", "--pidfile", "--log-file")
        super().setup()

    def __init__(self, name: str, **params: Any) -> None:
        super().__init__(name, **(params | {"datapath": "user"}))

    def start(self, controllers: Any) -> None:
        """Start it. Checksums that a host leaves to its interface are not made up for by this datapath, so
        hosts make them themselves."""
        super().start(controllers)
        for interface in self.intfList():
            ends = (interface.link.intf1, interface.link.intf2) if interface.link else ()
            for end in ends:
                if not isinstance(end.node, OVSSwitch):
                    end.node.cmd(f"ethtool -K {end.name} tx off")


def _run(*argv: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True)
    except FileNotFoundError:
        raise LabError(f"UserBridge: there is no {argv[0]}; install Debian's openvswitch-switch") from None
    if done.returncode:
        raise LabError(f"UserBridge: {argv[0]}: {done.stderr.strip()}")
