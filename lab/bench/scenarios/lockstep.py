"""What the library of `lockstep` costs, a pair beside itself without it, and what it is good for: HTTPS that
nginx ends on both nodes, beside HAProxy that ends it before the same servers.

Without the library the connections of HTTPS are detached at their first bytes, and served by one node: such a
pair has less to do, and the rows say so.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Measure, Record, Scenario, System
from lab.bench.scenarios.echo import SECONDS as ECHO_S
from lab.bench.scenarios.echo import echo
from lab.bench.scenarios.gaps import MBIT, MISSES, SHORT_BEAT_MS, watch
from lab.bench.scenarios.http import NGINX_CONFIG, PAGE_TIME, SECONDS, make_site, wrk
from lab.bench.stage import Setup, Stage
from lab.bench.systems import CERTIFICATE, HAPROXY_TLS
from lab.hosts import Host
from lab.keys import TLS_CERTIFICATE, TLS_KEY

IN_STEP = "lockstep=connection"
LARGE_BYTES = 1 << 36
"""More than a client can have in the time of a gap; the file is all holes."""
LISTEN = f"listen 443 ssl backlog=4096; ssl_certificate {CERTIFICATE}; ssl_certificate_key {CERTIFICATE};"


def make_tls_site(host: Host) -> None:
    """The site of HTTP, a large file, and HTTPS with one key for both nodes."""
    make_site(host)
    root = host.home / "root"
    (root / CERTIFICATE).write_text(TLS_KEY + TLS_CERTIFICATE)
    (root / "nginx.conf").write_text(NGINX_CONFIG.replace("root html;", f"{LISTEN} root html;"))
    with (root / "html" / "large").open("wb") as large:
        large.truncate(LARGE_BYTES)
    os.utime(root / "html" / "large", (PAGE_TIME, PAGE_TIME))


WEB = Setup(serve=("80/tcp,443/tcp=nginx -p . -c nginx.conf -g 'daemon off;'",), prepare=make_tls_site)
BEATS = (f"timing.heartbeat_ms={SHORT_BEAT_MS}", f"timing.heartbeat_misses={MISSES}")
KINDS = {"keep-alive": (), "connection-per-request": ("--header", "Connection: close")}


def https_gap(stage: Stage, system: System, record: Record, *, fault: str) -> None:
    """One fault at the node that serves an HTTPS download."""
    watch(stage, system, record, fault, system.serving(stage), "https")


def _both(
    name: str, setup: Setup, measure: Measure, unit: str, seconds: float, others: tuple[str, ...]
) -> tuple[Case, Case]:
    """The pair without the library, the other systems beside it, and the pair with it."""
    needs = () if setup is PLAIN else ("wrk", "nginx")
    plain = Case(f"lockstep.{name}", setup, (*others, FTTCP), measure, unit, seconds, needs=needs)
    in_step = replace(setup, settings=(IN_STEP,))
    return plain, replace(plain, setup=in_step, systems=(FTTCP,), label=f"{FTTCP} {IN_STEP}")


PLAIN = Setup()
COST = (
    *_both("echo.64B", PLAIN, partial(echo, size=64), "us", ECHO_S + 0.3, (NATIVE,)),
    *(
        case
        for scheme, others in (("http", (NATIVE,)), ("https", (NATIVE, HAPROXY_TLS)))
        for kind, options in KINDS.items()
        for case in _both(
            f"{scheme}.{kind}",
            WEB,
            partial(wrk, options=options, scheme=scheme),
            "requests/s",
            SECONDS + 0.5,
            others,
        )
    ),
)
GAPS = tuple(
    Case(
        f"lockstep.gap.{fault}",
        replace(WEB, settings=(*BEATS, IN_STEP)),
        (HAPROXY_TLS, FTTCP),
        partial(https_gap, fault=fault),
        "ms",
        seconds=8.0,
        disturbs=True,
        mbit=MBIT,
        needs=("nginx",),
    )
    for fault in ("crash-host", "kill-server")
)
SCENARIO = Scenario(
    "lockstep",
    "What the library of lock step costs a pair, and the gap in ms of an HTTPS download",
    (COST[:2], COST[2:6], COST[6:], GAPS),
)
