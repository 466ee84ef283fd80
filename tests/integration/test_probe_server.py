"""`fttcp probe-server` on real servers: what is the same, what differs and where. It leaves nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.hosts import Process, await_condition
from lab.lifecycle import fttcp_program
from lab.state import LABS
from tests.integration.netns import needs_root

pytestmark = needs_root

SERVER = [sys.executable, str(Path(__file__).with_name("probed_server.py"))]
NGINX = """
user root; worker_processes 1; error_log stderr; pid /run/nginx.pid; daemon off;
events { worker_connections 1024; }
http { access_log off; server {
    listen 443 ssl; listen [::]:443 ssl; root html; ssl_certificate cert.pem; ssl_certificate_key key.pem;
} }
"""


def probe(*words: str, command: list[str], lockstep: str = "off") -> tuple[int, dict[str, Any]]:
    """Run it; its exit status, and what it says."""
    line = [fttcp_program(), "probe-server", "--json", "--lockstep", lockstep, *words, "--", *command]
    done = subprocess.run(line, capture_output=True, text=True, timeout=180)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_server_that_says_the_same() -> None:
    status, found = probe("--port", "7/tcp", "--connections", "10", command=[*SERVER, "7", "same"])
    assert (status, found["verdict"], found["runs"][0]["connections"]) == (0, "same", 20)
    assert found["runs"][0]["divergences"] == 0 and found["runs"][0]["first"] is None


def test_random_tokens_of_equal_length() -> None:
    status, found = probe("--port", "7/tcp", "--connections", "10", command=[*SERVER, "7", "token"])
    assert (status, found["verdict"]) == (11, "content")
    run = found["runs"][0]
    assert (run["content"], run["same"], run["length"]) == (20, 0, 0) and run["divergences"] > 0
    first = run["first"]
    assert (first["connection"], first["lengths"][0]) == (1, first["lengths"][1])
    assert len("you said hello ") <= first["byte"] < len("you said hello 12345678")
    assert (
        "you said" in first["primary"]
        and "you said" in first["backup"]
        and first["primary"] != first["backup"]
    )


def test_answers_of_other_length() -> None:
    status, found = probe("--port", "7/tcp", command=[*SERVER, "7", "length"])
    assert (status, found["verdict"]) == (12, "length")
    run = found["runs"][0]
    assert run["length"] >= 20 and run["first"]["lengths"][0] != run["first"]["lengths"][1]


def test_a_clock_is_found_though_both_have_the_same() -> None:
    """Both copies answer in the same second mostly; so one is held for more than a second."""
    command = [sys.executable, "-m", "http.server", "--bind", "::", "80"]
    status, found = probe("--connections", "5", command=command)
    assert (status, found["verdict"]) == (11, "content")
    first = found["runs"][0]["first"]
    assert first["backup_later"] and "GMT" in first["primary"]


def test_tls_and_a_client_of_ones_own(tmp_path: Path) -> None:
    words = (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 9 -subj /CN=probe.test"
    )
    subprocess.run(words.split(), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "nginx.conf").write_text(NGINX)
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("hello\n")
    command = ["nginx", "-p", ".", "-c", "nginx.conf"]
    client = ("--client", "curl -skf https://$SERVICE4:$PORT/ https://[$SERVICE6]:$PORT/")
    for words_of_input in ((), client):
        port = ("--port", "443/tcp", "--files", str(tmp_path))
        status, found = probe(*port, *words_of_input, command=command)
        assert (status, found["verdict"]) == (12, "length")
        assert set(found["runs"][0]["client_statuses"]) == {0}
        assert found["runs"][0]["first"]["byte"] == 11, "the random number of the server's hello"
    clients = {found["runs"][0]["connections"]}
    assert clients == {4}


def test_a_recording_is_said_again(tmp_path: Path) -> None:
    """Recorded with tcpdump from the same server on loopback, in a network of its own."""
    file = tmp_path / "recorded.pcap"
    (tmp_path / "lines").write_text("hello\nagain\nquit\n")
    script = f"""
ip link set lo up
{shlex.join(SERVER)} 7 token & server=$!
tcpdump -i lo -U -s 0 -Z root -w {file} port 7 2>{tmp_path}/said & dump=$!
until grep -q listening {tmp_path}/said && ncat 127.0.0.1 7 <{tmp_path}/lines; do sleep 0.1; done
until [ "$(tcpdump -r {file} 'tcp[tcpflags] & tcp-fin != 0' 2>/dev/null | wc -l)" -ge 2 ]; do sleep 0.1; done
kill -INT $dump; wait $dump; kill $server
"""
    subprocess.run(["unshare", "-n", "sh", "-c", script], check=True, capture_output=True, timeout=60)
    status, found = probe("--port", "7/tcp", "--pcap", str(file), command=[*SERVER, "7", "token"])
    assert (status, found["verdict"], found["runs"][0]["client_statuses"]) == (11, "content", [0, 0])
    assert found["runs"][0]["first"]["lengths"] == [3 * len("you said hello 12345678\n") - 1] * 2


def test_lock_step_is_tried_where_it_differs_without() -> None:
    status, found = probe("--port", "7/tcp", command=[*SERVER, "7", "token"], lockstep="auto")
    assert [run["lockstep"] for run in found["runs"]] == ["off", "connection"]
    assert (status, found["verdict"]) == (10, "same-with-lockstep")


REDIS = """
for i in 1 2 3; do
    printf '%s\\n' "SADD s$i a b c d e f g h" "SPOP s$i 3" "SET k$i x PX 50" "PTTL k$i" RANDOMKEY TIME |
        redis-cli -h "$SERVICE4" -p "$PORT"
done
"""


def test_a_server_whose_copies_only_a_log_of_calls_keeps_alike() -> None:
    """redis: one random generator for all clients, which see each other's keys, and times."""
    command = ["redis-server", "--save", "", "--protected-mode", "no", "--port", "6379"]
    words = ("--port", "6379/tcp", "--client", REDIS)
    status, found = probe(*words, command=command, lockstep="auto")
    off, connection, joined = found["runs"]
    assert off["verdict"] != "same" and connection["verdict"] != "same"
    assert (joined["lockstep"], joined["verdict"], joined["connections"]) == ("calls", "same", 6), joined
    assert joined["log"]["state"] == "runs" and joined["log"]["calls"] > 100
    assert status in (11, 12) and "A log of calls keeps both copies alike" in found["advice"]
    status, found = probe(*words, command=command, lockstep="calls")
    assert (status, found["verdict"]) == (13, "same-with-calls"), found


def test_a_client_that_fails_has_shown_nothing() -> None:
    """It speaks HTTP to a server that does not: both copies answer that the same."""
    client = ("--client", "curl -s http://$SERVICE4:$PORT/")
    status, found = probe("--port", "7/tcp", *client, command=[*SERVER, "7", "same"], lockstep="auto")
    assert (status, found["verdict"]) == (1, "not-tried"), found
    assert len(found["runs"]) == 1 and all(found["runs"][0]["client_statuses"])


def test_a_server_that_does_not_start_is_told() -> None:
    line = [fttcp_program(), "probe-server", "--timeout", "5", "--port", "7/tcp", "--", "false"]
    with Process(line, stderr=subprocess.PIPE, text=True) as running:
        _, said = running.communicate(timeout=120)
    assert running.returncode == 1 and "waited 5 s in vain" in said
    assert not list(LABS.glob(f"probe-{running.pid}*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_end_in_the_middle_leaves_nothing(number: int) -> None:
    line = [
        fttcp_program(),
        "probe-server",
        "--port",
        "7/tcp",
        "--client",
        "sleep 60",
        "--",
        *SERVER,
        "7",
        "same",
    ]
    with Process(line, start_new_session=True, stderr=subprocess.PIPE, text=True) as running:
        home = LABS / f"probe-{running.pid}"
        assert running.stderr
        next(said for said in running.stderr if "the same input" in said)
        assert home.exists()
        os.killpg(running.pid, number)
        running.communicate(timeout=60)
    await_condition(lambda: not list(LABS.glob(f"{home.name}*")), 30, "the end of the lab")


def test_wrong_words() -> None:
    for words in (("--port", "53/udp"), ("--client", "x", "--pcap", "y"), ("--lockstep", "perhaps")):
        done = subprocess.run([fttcp_program(), "probe-server", *words, "--", "true"], capture_output=True)
        assert done.returncode == 2, words


def test_rows_of_the_table() -> None:
    """One of a server that says the same, and one of a download that a crash does not end."""
    line = [sys.executable, "-m", "lab.probe.table", "--json", "redis", "nginx"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=240, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    redis, nginx = map(json.loads, done.stdout.splitlines())
    assert redis["without"] == "same" and redis["version"]
    assert nginx["without"].startswith("content differs ("), nginx
    assert nginx["stepped"] == "same", nginx
    assert nginx["crash"] == "goes on" and 0 < nginx["gap_ms"] < 5000, nginx
