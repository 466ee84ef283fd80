"""Requests per second: wrk asks an nginx, on connections that stay and with one for each request; and how
many connections a second a plain server takes."""

from __future__ import annotations

import os
import re
from functools import partial

from lab.bench.scenario import Case, Record, Scenario, System
from lab.bench.stage import Setup, Stage
from lab.bench.systems import UNSHAPED
from lab.errors import LabError
from lab.hosts import Host

SECONDS = 2
CONNECTIONS = 32
WINDOW = 16
PAGE_BYTES = 1024
NGINX_CONFIG = """\
user root;
worker_processes 1;
error_log stderr;
pid /run/nginx.pid;
events { worker_connections 8192; }
http {
    access_log off;
    sendfile on;
    keepalive_requests 100000000;
    server {
        listen 80 backlog=4096;
        listen [::]:80 backlog=4096;
        root html;
    }
}
"""
PAGE_TIME = 1_700_000_000


def make_site(host: Host) -> None:
    """Put nginx's configuration and one page where its server looks for them."""
    root = host.home / "root"
    (root / "html").mkdir()
    (root / "nginx.conf").write_text(NGINX_CONFIG)
    page = root / "html" / "page"
    page.write_bytes(b"x" * PAGE_BYTES)
    os.utime(page, (PAGE_TIME, PAGE_TIME))  # a part of the answer, so the same on both nodes


NGINX = Setup(serve=("80/tcp=nginx -p . -c nginx.conf -g 'daemon off;'",), prepare=make_site)


def wrk(
    stage: Stage, system: System, record: Record, *, options: tuple[str, ...], scheme: str = "http"
) -> None:
    """Requests per second, and the 99th percentile of their latencies."""
    argv = [
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(CONNECTIONS),
        "--duration",
        f"{SECONDS}s",
        "--latency",
    ]
    out = stage.run([*argv, *options, f"{scheme}://{system.address(stage)}/page"], SECONDS)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", out)
    if not rate or not tail:
        raise LabError(f"wrk: its answer is not understood: {out.strip()}")
    record.add("requests/s", float(rate[1]))
    record.add("ms", float(tail[1]) * {"us": 0.001, "ms": 1, "s": 1000}[tail[2]], "p99")
    for pattern in (r"Socket errors: .*", r"Non-2xx.*"):
        if trouble := re.search(pattern, out):
            record.note("requests/s", trouble[0])


def connect(stage: Stage, system: System, record: Record) -> None:
    """Connect, one echo of 64 bytes, close; WINDOW of them at any time."""
    report = stage.load("connect", system.address(stage), window=WINDOW, seconds=SECONDS)
    record.add("connections/s", report["trips"] / report["seconds"])
    record.add("us", report["p99_us"], "p99")
    if report["lost"]:
        record.note("connections/s", "connections lost or refused")


def _http(name: str, options: tuple[str, ...]) -> Case:
    measure = partial(wrk, options=options)
    return Case(
        f"http.{name}",
        NGINX,
        UNSHAPED,
        measure,
        "requests/s",
        seconds=SECONDS + 0.5,
        short=True,
        needs=("wrk", "nginx"),
    )


SCENARIO = Scenario(
    "http",
    f"Requests per second of wrk to nginx ({CONNECTIONS} connections), and connections per second",
    (
        (_http("keep-alive", ()), _http("connection-per-request", ("--header", "Connection: close"))),
        (
            Case(
                "http.connections",
                Setup(),
                UNSHAPED,
                connect,
                "connections/s",
                seconds=SECONDS + 0.5,
                short=True,
            ),
        ),
    ),
)
