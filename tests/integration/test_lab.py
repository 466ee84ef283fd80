"""What the lab promises, on bare hosts: no engine is needed for any of this."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.capture import Capture
from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import Process, await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES, PROXY, SERVICE4, SWITCH, cables
from lab.state import LABS, LabState

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")

LAB_COMMAND = [sys.executable, "-c", "from lab.cli import lab; lab(prog_name='fttcp lab')"]
ROOT = Path(__file__).parents[2]
RECEIVER = """
import socket, struct, sys
receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS: when the kernel had it, not this process
receiver.bind(("0.0.0.0", 9))
print("ready", flush=True)
receiver.settimeout(3)  # until a sender has started
try:
    while True:
        (_, _, stamp), = receiver.recvmsg(2000, 100)[1]
        seconds, ns = struct.unpack("ll", stamp)
        print(seconds + ns / 1e9, flush=True)
        receiver.settimeout(float(sys.argv[1]))
except TimeoutError:
    sys.exit(0)
"""
SENDER = """
import socket, sys, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(int(sys.argv[2])):
    sender.sendto(b"x" * 1000, (sys.argv[1], 9))
    time.sleep(float(sys.argv[3]))
"""


def lab_command(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run `fttcp lab` with these arguments to its end."""
    command = [*LAB_COMMAND, *arguments]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def marked_processes(mark: str) -> list[int]:
    """The living processes that have `mark` in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            if mark.encode() in environment:
                found.append(int(entry.name))
    return found


def interfaces() -> set[str]:
    """The machine's own network interfaces."""
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def delivered(lab: Lab, source: str, target: str, address: str, count: int) -> int:
    """How many of `count` datagrams from `source` reach `target`."""
    receiver = lab.popen(target, ["python3", "-c", RECEIVER, "0.4"], stdout=subprocess.PIPE, text=True)
    with receiver:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        sent = lab.exec(source, ["python3", "-c", SENDER, address, str(count), "0"])
        arrived = receiver.stdout.readlines()
    assert sent.returncode in (0, 1), sent.stderr
    return len(arrived)


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    lab = Lab(f"test-lab-{os.getpid()}")
    lab.up(bare=True)
    yield lab
    lab.down()


@pytest.fixture
def lab(shared: Lab) -> Lab:
    """Hosts and network without daemons, whole."""
    for node in NODES:
        if not shared.host(node).alive():
            shared.restart_host(node)
    make_fault(shared, "heal")
    return shared


class TestUpAndDown:
    def test_down_removes_everything(self) -> None:
        before = interfaces()
        lab = Lab(f"test-updown-{os.getpid()}")
        lab.up(bare=True)
        inits = [record.init for record in LabState.load(lab.name).hosts.values()]
        assert len(inits) == 4 and all(init.alive() for init in inits)
        assert interfaces() == before
        assert lab.down()
        assert not any(init.alive() for init in inits)
        assert not list(LABS.glob(f"{lab.name}*"))
        assert not lab.down()

    @pytest.mark.parametrize("delay_s", [0.1, 0.16, 0.2, 0.24, 0.28, 0.34, 0.4])
    def test_down_after_up_was_killed(self, delay_s: float) -> None:
        mark, name = uuid.uuid4().hex, f"test-killed-{os.getpid()}"
        up = subprocess.Popen(
            [*LAB_COMMAND, "up", "--bare", "--name", name],
            cwd=ROOT,
            env={**os.environ, "MARK": mark},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(delay_s)  # the moment of the kill is the test's input, not an event to wait for
        up.kill()
        up.wait()
        assert lab_command("down", "--name", name).returncode == 0
        await_condition(lambda: not marked_processes(mark), 30, "the end of what `lab up` left behind")
        assert not list(LABS.glob(f"{name}*"))

    def test_a_second_lab_of_the_same_name_is_refused(self, lab: Lab) -> None:
        again = lab_command("up", "--bare", "--name", lab.name)
        assert again.returncode == 1 and f"lab down --name {lab.name}" in again.stderr
        assert lab.host(CLIENT).alive()

    def test_two_labs_side_by_side(self, lab: Lab) -> None:
        other = Lab(f"test-other-{os.getpid()}")
        other.up(bare=True)
        try:
            for one in (lab, other):
                one.exec("alpha", ["sh", "-c", f"echo {one.name} > /srv/index.html; hostname"])
                command = ["python3", "-m", "http.server", "-d", "/srv", "80"]
                one.keep_child(
                    one.popen("alpha", command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
            fetch = [
                "curl",
                "-s",
                "--retry",
                "20",
                "--retry-connrefused",
                "--retry-delay",
                "1",
                "http://10.77.0.1/",
            ]
            for one in (lab, other):
                assert one.exec(CLIENT, fetch).stdout.strip() == one.name
        finally:
            other.down()

    @pytest.mark.parametrize("wrong", ["80=x", "80/sctp=x", "0/tcp=x", "80/tcp", "80/tcp="])
    def test_a_wrong_serve_is_named(self, wrong: str) -> None:
        answer = lab_command("up", "--serve", wrong, "--name", f"test-wrong-{os.getpid()}")
        assert answer.returncode == 1 and wrong in answer.stderr and "PORT/PROTO=COMMAND" in answer.stderr

    def test_commands_on_a_lab_that_is_not_up(self) -> None:
        for command in (["env"], ["status"], ["exec", CLIENT, "--", "true"], ["fault", "heal"]):
            answer = lab_command(*command, "--name", "test-none")
            assert answer.returncode == 1 and "not up" in answer.stderr


class TestExec:
    def test_streams_and_status_pass_through(self, lab: Lab) -> None:
        command = ["exec", "--name", lab.name, CLIENT, "--", "sh", "-c", "cat; echo words >&2; exit 7"]
        answer = lab_command(*command, input="some text")
        assert (answer.returncode, answer.stdout, answer.stderr) == (7, "some text", "words\n")

    def test_a_missing_command_is_127(self, lab: Lab) -> None:
        assert lab_command("exec", "--name", lab.name, "beta", "--", "no-such-command").returncode == 127

    def test_signals_pass_through(self, lab: Lab) -> None:
        script = "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
        with Process(
            [*LAB_COMMAND, "exec", "--name", lab.name, "alpha", "--", "sh", "-c", script],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.terminate()
            assert process.stdout.read() == "got it\n"
        assert process.returncode == 3

    def test_hosts_have_their_own_network_and_files(self, lab: Lab) -> None:
        lab.exec("alpha", ["touch", "/run/mine", "/var/log/mine", "/srv/mine"])
        assert lab.exec("alpha", ["ls", "/run/mine"]).returncode == 0
        assert lab.exec("beta", ["ls", "/run/mine", "/var/log/mine", "/srv/mine"]).returncode == 2
        assert "10.77.0.2/24" in lab.exec("beta", ["ip", "address"]).stdout
        assert lab.exec("alpha", ["sh", "-c", "echo $$"]).stdout.strip() != ""

    def test_orphans_are_reaped(self, lab: Lab) -> None:
        lab.exec("beta", ["sh", "-c", "(true & exec sleep 0.1) > /dev/null 2>&1 &"])
        await_condition(lambda: len(lab.host("beta").processes()) == 1, 30, "only the init is left")
        assert "Z" not in lab.exec("beta", ["ps", "-eo", "stat="]).stdout

    def test_env_is_shell(self, lab: Lab) -> None:
        script = (
            f"{lab_command('env', '--name', lab.name).stdout}\necho $SERVICE4 $SERVICE6 $ALPHA_PEER4 $LAB_DIR"
        )
        printed = subprocess.run(["sh", "-c", script], text=True, capture_output=True).stdout.split()
        assert printed == ["10.77.0.100", "fd77::100", "10.78.0.1", str(lab.home)]


CUTS = [
    ("client", {"svc0"}),
    ("peer", {"peer0"}),
    ("arbiter", {"arb0"}),
    ("all", {"svc0", "peer0", "arb0"}),
]


class TestFaults:
    @pytest.mark.parametrize(("link", "dead"), CUTS)
    def test_cut_takes_the_carrier(self, lab: Lab, link: str, dead: set[str]) -> None:
        make_fault(lab, "cut", link, "alpha")
        for interface in ("svc0", "peer0", "arb0"):
            carrier = lab.exec("alpha", ["cat", f"/sys/class/net/{interface}/carrier"]).stdout.strip()
            assert carrier == ("0" if interface in dead else "1")
        assert lab.exec("beta", ["cat", "/sys/class/net/svc0/carrier"]).stdout.strip() == "1"
        make_fault(lab, "heal")
        assert lab.exec("alpha", ["cat", "/sys/class/net/svc0/carrier"]).stdout.strip() == "1"

    @pytest.mark.parametrize(
        ("link", "source", "target", "address"),
        [
            ("client", CLIENT, "alpha", "10.77.0.1"),
            ("client", "alpha", CLIENT, "10.77.0.10"),
            ("peer", "alpha", "beta", "10.78.0.2"),
            ("peer", "beta", "alpha", "10.78.0.1"),
        ],
    )
    def test_loss_hits_both_directions(
        self, lab: Lab, link: str, source: str, target: str, address: str
    ) -> None:
        assert delivered(lab, source, target, address, 50) == 50
        make_fault(lab, "loss", link, 30)
        assert 400 < delivered(lab, source, target, address, 800) < 720
        make_fault(lab, "loss", link, 0)
        assert delivered(lab, source, target, address, 50) == 50

    def test_loss_leaves_the_other_link_alone(self, lab: Lab) -> None:
        make_fault(lab, "loss", "client", 100)
        assert delivered(lab, "alpha", "beta", "10.77.0.2", 50) == 50
        assert delivered(lab, "alpha", "beta", "10.78.0.2", 50) == 50
        assert delivered(lab, "alpha", CLIENT, "10.77.0.10", 50) == 0

    @pytest.mark.parametrize(("source", "target"), [(CLIENT, "alpha"), ("alpha", CLIENT)])
    def test_rate_shapes_both_directions(self, lab: Lab, source: str, target: str) -> None:
        address = {"alpha": "10.77.0.1", CLIENT: "10.77.0.10"}[target]
        make_fault(lab, "rate", "client", 40)
        sink = ["socat", "-u", "TCP-LISTEN:9,reuseaddr", "OPEN:/dev/null"]
        with lab.popen(target, sink) as receiver:
            started = time.monotonic()
            text = f"head -c 5000000 /dev/zero | socat -u - TCP:{address}:9,retry=20,interval=0.05"
            assert lab.exec(source, ["sh", "-c", text]).returncode == 0
            receiver.wait()
        assert 40 / (time.monotonic() - started) < 45

    def test_crash_host_is_silent_at_once(self, lab: Lab) -> None:
        receiver = lab.popen(CLIENT, ["python3", "-c", RECEIVER, "0.3"], stdout=subprocess.PIPE, text=True)
        with receiver:
            assert receiver.stdout is not None
            receiver.stdout.readline()
            sender = lab.popen("alpha", ["python3", "-c", SENDER, "10.77.0.10", "1000000", "0.0005"])
            assert receiver.stdout.readline()
            processes = lab.host("alpha").processes()
            assert sender.pid in processes
            make_fault(lab, "crash-host", "alpha")
            silent = time.time()
            arrivals = [float(line) for line in receiver.stdout]
        assert arrivals and max(arrivals) <= silent
        assert sender.wait() == -signal.SIGKILL
        assert lab.host("alpha").processes() == [] and not lab.host("alpha").alive()
        with pytest.raises(LabError, match="restart-host alpha"):
            lab.exec("alpha", ["true"])

    def test_restart_host_brings_it_back(self, lab: Lab) -> None:
        mac = lab.exec("alpha", ["cat", "/sys/class/net/svc0/address"]).stdout
        lab.exec("alpha", ["touch", "/run/volatile", "/srv/durable"])
        make_fault(lab, "crash-host", "alpha")
        report = make_fault(lab, "restart-host")
        assert report["target"] == "alpha"
        assert lab.exec("alpha", ["cat", "/sys/class/net/svc0/address"]).stdout == mac
        assert lab.exec("alpha", ["ls", "/run/volatile"]).returncode == 2
        assert lab.exec("alpha", ["ls", "/srv/durable"]).returncode == 0
        assert delivered(lab, "alpha", "beta", "10.78.0.2", 20) == 20
        assert delivered(lab, CLIENT, "alpha", "10.77.0.1", 20) == 20

    def test_wrong_faults_are_refused(self, lab: Lab) -> None:
        for wrong in (
            ["cut", "peer", CLIENT],
            ["loss", "client", "101"],
            ["rate", "client", "0"],
            ["crash-host"],
        ):
            answer = lab_command("fault", *wrong, "--name", lab.name)
            assert answer.returncode != 0 and "Error" in answer.stderr

    def test_a_host_that_is_added_again_is_there_once(self, lab: Lab) -> None:
        first = lab.add_host(PROXY)
        second = lab.add_host(PROXY)
        assert second.alive() and not first.alive()
        assert delivered(lab, CLIENT, PROXY, str(cables(PROXY)[0].address4.ip), 20) == 20


class TestCapture:
    def test_holds_all_that_was_seen_before_its_end(self, lab: Lab, tmp_path: Path) -> None:
        """Also when its processes come late to the frames: here they stand still when it is asked for."""
        alpha, count = lab.host("alpha"), 20
        alpha.run(["ip", "address", "add", f"{SERVICE4}/32", "dev", "svc0"])
        try:
            with Capture(lab, tmp_path) as capture:
                running = lab.host(SWITCH).processes()
                readers = [pid for pid in running if Path(f"/proc/{pid}/comm").read_text() == "tcpdump\n"]
                assert len(readers) == len((CLIENT, *NODES, "peer"))
                for reader in readers:
                    os.kill(reader, signal.SIGSTOP)
                alpha.run(["ping", "-q", "-i", "0.002", "-c", str(count), "-I", SERVICE4, "10.77.0.10"])
                late = [threading.Timer(0.3, os.kill, (reader, signal.SIGCONT)) for reader in readers]
                for timer in late:
                    timer.start()
        finally:
            alpha.run(["ip", "address", "del", f"{SERVICE4}/32", "dev", "svc0"])
        assert [(said.host, said.kind) for said in capture.emissions()].count(("alpha", "ip")) == count
