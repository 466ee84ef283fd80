"""Throw-away network namespaces: each lives as long as a process of its own, and has no name to leak."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("iptables-restore") is None,
    reason="needs root and iptables, to make network namespaces",
)


class Namespace:
    """A network namespace with `lo` up. Addresses are usable at once (no duplicate address detection)."""

    def __init__(self) -> None:
        script = "echo up; exec sleep infinity"
        self._holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"up\n", "unshare --net failed: are you root?"
        self.pid = self._holder.pid
        self.run(
            "sysctl",
            "-q",
            "net.ipv6.conf.default.accept_dad=0",
            "net.ipv6.conf.default.router_solicitations=0",
        )
        self.run("ip", "link", "set", "lo", "up")

    def command(self, *command: str) -> list[str]:
        """The command, as it must be started to run inside."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    def run(self, *command: str, check: bool = True) -> str:
        """Runs a command inside and returns what it prints; fails the test if the command fails."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=30)
        if check:
            assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done.stdout

    def succeeds(self, *command: str) -> bool:
        """Whether a command that runs inside ends with status 0."""
        return subprocess.run(self.command(*command), capture_output=True, timeout=30).returncode == 0

    def mac(self, interface: str) -> str:
        """The MAC address of an interface."""
        return self.run("ip", "-br", "link", "show", interface).split()[2]

    @contextmanager
    def capture(self, interface: str, what: str, timeout: float = 10) -> Iterator[list[str]]:
        """Within, tcpdump waits for one packet; afterwards the list holds its line. Fails if none came."""
        command = self.command(
            "tcpdump", "-n", "-e", "-l", "--immediate-mode", "-c", "1", "-i", interface, what
        )
        lines: list[str] = []
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            while "listening on" not in (line := process.stderr.readline()):
                assert line, "tcpdump did not start"
            yield lines
            lines.append(process.communicate(timeout=timeout)[0].strip())
        finally:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End the namespace, with whatever is still in it."""
        namespace = Path(f"/proc/{self.pid}/ns/net").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is none of ours to see
                if (process / "ns/net").readlink() == namespace:
                    os.kill(int(process.name), signal.SIGKILL)
        self._holder.wait()


class Net:
    """A node between a client (svc0 -- eth0) and its peer (peer0 -- peer0)."""

    def __init__(self, stack: ExitStack) -> None:
        self.client, self.node, self.peer = (self._namespace(stack) for _ in range(3))
        self.join(self.node, "svc0", self.client, "eth0", "77")
        self.join(self.node, "peer0", self.peer, "peer0", "78")
        self.node.run("ip", "route", "add", "default", "via", "10.77.0.10")
        self.node.run("ip", "-6", "route", "add", "default", "via", "fd77::10")

    @staticmethod
    def _namespace(stack: ExitStack) -> Namespace:
        namespace = Namespace()
        stack.callback(namespace.close)
        return namespace

    @staticmethod
    def join(left: Namespace, name: str, right: Namespace, right_name: str, net: str) -> None:
        """Lay a cable between two namespaces, with addresses 10.NET.0.1 and fdNET::1 at the left end."""
        pair = (
            "ip",
            "link",
            "add",
            name,
            "type",
            "veth",
            "peer",
            "name",
            right_name,
            "netns",
            str(right.pid),
        )
        left.run(*pair)
        ends = ((left, name, "1"), (right, right_name, "10" if net == "77" else "2"))
        for namespace, interface, host in ends:
            namespace.run("ip", "addr", "add", f"10.{net}.0.{host}/24", "dev", interface)
            namespace.run("ip", "addr", "add", f"fd{net}::{host}/64", "dev", interface, "nodad")
            namespace.run("ip", "link", "set", interface, "up")
        # IPv6 begins up to a second after the carrier: wait until each hears the other.
        for namespace, host in ((left, ends[1][2]), (right, ends[0][2])):
            namespace.run("ping", "-q", "-c", "1", "-i", "0.05", "-w", "5", f"fd{net}::{host}")
            namespace.run("ip", "neigh", "flush", "all")

    def snapshot(self) -> str:
        """All of the node's network settings. iptables-nft leaves empty built-in tables behind: left out."""
        rules = [
            line
            for tool in ("iptables-save", "ip6tables-save")
            for line in self.node.run(tool).splitlines()
            if line.startswith("-A") or (line.startswith(":") and line.split()[1] == "-")
        ]
        rules += [line for line in self.node.run("nft", "list", "ruleset").splitlines() if " fttcp-" in line]
        others = [
            self.node.run(*command.split())
            for command in (
                "ip rule",
                "ip -6 rule",
                "ip route show table all",
                "ip -6 route show table all",
                "ip addr",
                "sysctl -a -r ^net[.](ipv4|ipv6)[.](conf[.]|ip_early_demux)",
            )
        ]
        return "\n".join([*rules, *others])


@pytest.fixture
def net() -> Iterator[Net]:
    with ExitStack() as stack:
        yield Net(stack)
