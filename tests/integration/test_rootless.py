"""A lab of somebody who is not root: the same, in a user namespace; where that cannot be it is said why."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.hosts import await_condition
from tests.integration.person import FTTCP, RUNTIME, UID, person, processes

ECHO = "7/tcp=socat TCP6-LISTEN:7,ipv6only=0,fork,reuseaddr PIPE"
STUDY = """
name = "stale"
question = "Who removes a lab whose maker was killed?"
seconds = 60
client = [{ measure = "echo" }]
"""
WITHOUT_RUNTIME = Path(f"/tmp/fttcp-lab-{UID}")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """When a test is done nothing runs for the person, and nothing is in memory or on the disk."""
    yield
    await_condition(lambda: not processes(), 10, f"the end of what user {UID} runs: {processes()}")
    left = [*Path("/dev/shm").glob(f"*fttcp-lab-{UID}*"), *Path("/dev/shm").glob(f"run-user-{UID}-*")]
    left += WITHOUT_RUNTIME.glob("*")
    for directory in (*Path("/dev/shm").glob(f"*-{UID}-*"), WITHOUT_RUNTIME):
        shutil.rmtree(directory, ignore_errors=True)
    assert not left


pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else"),
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.mark.parametrize("runtime", [True, False], ids=["in_run", "in_tmp"])
def test_a_connection_outlives_its_host(runtime: bool) -> None:
    with person([f"XDG_RUNTIME_DIR={RUNTIME}"] if runtime else ()) as one:
        up = one.fttcp("lab", "up", "--serve", ECHO)
        assert up.returncode == 0, up.stderr
        home = (RUNTIME / "fttcp-lab" if runtime else WITHOUT_RUNTIME) / "default"
        assert f"the pair is in step: {home}" in up.stdout
        assert one.run("cat", f"{home}/alpha/log/node.log").stdout
        talk = [str(FTTCP), "lab", "exec", "client", "--", "socat", "-t", "5", "-", "TCP:10.77.0.100:7"]
        with one.popen(*talk, stdin=-1, stdout=-1, bufsize=1) as echo:
            assert echo.stdin and echo.stdout
            print("before", file=echo.stdin)
            assert echo.stdout.readline() == "before\n"
            assert one.fttcp("lab", "fault", "crash-host", "primary").returncode == 0
            print("after", file=echo.stdin)
            assert echo.stdout.readline() == "after\n"
            echo.stdin.close()
        assert one.fttcp("lab", "wait", "primary=beta").returncode == 0
        assert one.fttcp("lab", "fault", "restart-host").returncode == 0
        waited = one.fttcp("lab", "wait", "synced")
        assert waited.returncode == 0, waited.stderr
        for act in ("ufw", "firewalld"):
            rules = one.fttcp("lab", "fault", "rules", act)
            assert rules.returncode == 0, rules.stderr
        link = one.fttcp("lab", "fault", "link", "client", "--delay-ms", "1")
        assert link.returncode == 0, link.stderr
        assert one.fttcp("lab", "down").stdout == "lab default: removed\n"
        assert one.run("ls", str(home.parent)).stdout == ""


@pytest.mark.parametrize("scene", [(), ("--tls",), ("--ssh",)])
def test_the_demo(scene: tuple[str, ...]) -> None:
    with person() as one:
        done = one.fttcp("demo", "--json", "--size", "5000000", *scene)
    result = json.loads(done.stdout)
    assert done.returncode == 0 and result["survived"] and result["hash_equal"], (result, done.stderr)


def test_servers_may_change_their_user() -> None:
    with person() as one:
        assert one.fttcp("lab", "up", "--bare").returncode == 0
        try:
            words = ["setpriv", "--reuid", "www-data", "--regid", "www-data", "--clear-groups"]
            words += ["sh", "-c", "id -un; touch /var/log/nginx/mine && echo wrote"]
            done = one.fttcp("lab", "exec", "alpha", "--", *words)
            assert done.stdout.split() == ["www-data", "wrote"], done.stderr
        finally:
            assert one.fttcp("lab", "down").returncode == 0


def test_a_single_user_id_is_enough_for_servers_that_stay_root() -> None:
    with person(more="mount --bind /dev/null /usr/bin/newuidmap") as one:
        up = one.fttcp("lab", "up", "--serve", ECHO)
        assert up.returncode == 0, up.stderr
        assert "note: there is one user id" in up.stderr and "apt-get install uidmap" in up.stderr
        assert one.fttcp("lab", "down").returncode == 0


def test_ids_that_cannot_be_given_are_told() -> None:
    powerless = 'cp /usr/bin/newuidmap "$1/tool" && mount --bind "$1/tool" /usr/bin/newuidmap'
    with person(more=powerless) as one:
        up = one.fttcp("lab", "up", "--bare")
    assert up.returncode == 1
    assert "newuidmap: " in up.stderr and "see /etc/subuid" in up.stderr


def test_a_host_that_cannot_be_set_up_says_why() -> None:
    closed = 'mknod -m 600 "$1/null" c 1 3 && mount --bind "$1/null" /dev/null'
    with person(more=closed) as one:
        up = one.fttcp("lab", "up", "--bare")
    assert up.returncode == 1
    assert "host switch: cannot set up its files" in up.stderr and "'/dev/null'" in up.stderr


def test_what_forbids_user_namespaces_is_told() -> None:
    with person(more="echo 0 >/proc/sys/user/max_user_namespaces", nested=True) as one:
        for words in ("lab up", "lab fault heal", "lab run several-segments", "lab campaign", "demo"):
            done = one.fttcp(*words.split())
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            knob = "user.max_user_namespaces"
            assert f"needs root, or a user namespace: {knob} is 0 here; run it with sudo, or as" in line
            assert line.endswith(f"as root: sysctl -w {knob}=10000"), line
        assert one.fttcp("lab", "up", "--help").returncode == 0


def test_a_directory_of_somebody_else_is_not_used() -> None:
    WITHOUT_RUNTIME.mkdir()
    with person() as one:
        up = one.fttcp("lab", "up", "--bare")
    assert up.returncode == 1
    assert f"Error: {WITHOUT_RUNTIME}: it is not this user's directory" in up.stderr


@pytest.fixture
def rtprio() -> Iterator[Callable[[int], None]]:
    """Sets the limit of real-time priority of what we start."""
    before = resource.getrlimit(resource.RLIMIT_RTPRIO)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_RTPRIO, (limit, limit))
    resource.setrlimit(resource.RLIMIT_RTPRIO, before)


@pytest.mark.parametrize("limit", [0, 50])
def test_real_time_priority_is_there_where_it_is_allowed(rtprio: Callable[[int], None], limit: int) -> None:
    try:
        rtprio(limit)
    except ValueError:
        pytest.skip("root may not raise limits here (CAP_SYS_RESOURCE)")
    with person() as one:
        up = one.fttcp("lab", "up", "--bare")
        assert up.returncode == 0
        assert ("note: heartbeats have no real-time priority" in up.stderr) == (limit == 0)
        done = one.fttcp("lab", "exec", "alpha", "--", "chrt", "--fifo", "50", "true")
        assert (done.returncode == 0) == (limit == 50)
        assert one.fttcp("lab", "down").returncode == 0


def test_the_shell_finds_a_lab_that_came_up_behind_its_back() -> None:
    with person() as one, one.popen(str(FTTCP), "lab", "shell", stdin=-1, stdout=-1, stderr=-1) as shell:
        assert shell.stdin and shell.stdout and shell.stderr
        print("exec client -- echo early", file=shell.stdin, flush=True)
        while "it is not up" not in (line := shell.stderr.readline()):
            assert line
        assert one.fttcp("lab", "up", "--bare").returncode == 0
        print("exec client -- echo there", file=shell.stdin, flush=True)
        assert shell.stdout.readline() == "there\n"
        print("down", file=shell.stdin, flush=True)
        assert shell.stdout.readline() == "lab default: removed\n"
        shell.communicate()


def test_what_a_killed_maker_leaves_is_removed_by_the_next_one() -> None:
    """Its hosts are in a user namespace of their own, and files belong to users of that."""
    with person() as one:
        one.run("sh", "-c", f"cat >stale.toml <<'END'\n{STUDY}\nEND")
        with one.popen(str(FTTCP), "lab", "run", "stale.toml", stderr=subprocess.DEVNULL) as maker:
            home = WITHOUT_RUNTIME / f"study-{maker.pid}"
            last = home / "beta" / "log" / "node.log"
            await_condition(last.exists, 30, "the lab of the experiment")
            theirs = ["install", "-D", "-o", "www-data", "/etc/hostname", "/srv/theirs/file"]
            words = [*theirs, "&&", "chown", "www-data", "/srv/theirs", "&&", "chmod", "700", "/srv/theirs"]
            made = one.fttcp("lab", "exec", "--name", home.name, "alpha", "--", "sh", "-c", " ".join(words))
            assert made.returncode == 0, made.stderr
            maker.kill()
        assert home.exists() and processes()
        again = one.popen(str(FTTCP), "lab", "run", "stale.toml", stderr=subprocess.PIPE)
        await_condition(lambda: not home.exists(), 30, "the end of the lab that was left")
        again.terminate()
        _, said = again.communicate()
        assert "Traceback" not in said, said
