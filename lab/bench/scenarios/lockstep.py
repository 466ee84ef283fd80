"""What the library of `lockstep` costs, a pair beside itself without it, and what it is good for: HTTPS that
nginx ends on both nodes, beside HAProxy that ends it before the same servers.

Without the library the connections of HTTPS are detached at their first bytes, and served by one node: such a
pair has less to do. So there is one with the library whose connections are detached, too: it differs by the
library's own cost, and is ahead of the pair that protects them by what that costs.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from lab.bench.rows import FTTCP, NATIVE
from lab.bench.scenario import Case, Record, Scenario, System
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


def make_unlike_site(host: Host) -> None:
    """The same with a header that differs, of equal length: every connection in step is detached at once."""
    make_tls_site(host)
    config = host.home / "root" / "nginx.conf"
    config.write_text(
        config.read_text().replace("root html;", f"root html; add_header X-Host {host.name:_<9};")
    )


WEB = Setup(serve=("80/tcp,443/tcp=nginx -p . -c nginx.conf -g 'daemon off;'",), prepare=make_tls_site)
UNLIKE = replace(WEB, prepare=make_unlike_site)
BEATS = (f"timing.heartbeat_ms={SHORT_BEAT_MS}", f"timing.heartbeat_misses={MISSES}")
KINDS = {"keep-alive": (), "connection-per-request": ("--header", "Connection: close")}


def https_gap(stage: Stage, system: System, record: Record, *, fault: str) -> None:
    """One fault at the node that serves an HTTPS download."""
    watch(stage, system, record, fault, system.serving(stage), "https")


def _in_step(case: Case, setup: Setup, detached: str = "") -> Case:
    """The pair of `case` with the library, alone."""
    label = f"{FTTCP} {IN_STEP}{detached}"
    return replace(case, setup=replace(setup, settings=(IN_STEP,)), systems=(FTTCP,), label=label)


def _web(scheme: str, kind: str, others: tuple[str, ...]) -> tuple[Case, ...]:
    """nginx: the pair without the library and with it, `others` beside it; of HTTPS one that detaches all."""
    plain = Case(
        f"lockstep.{scheme}.{kind}",
        WEB,
        (*others, FTTCP),
        partial(wrk, options=KINDS[kind], scheme=scheme),
        "requests/s",
        SECONDS + 0.5,
        needs=("wrk", "nginx"),
    )
    unlike = (_in_step(plain, UNLIKE, ", detached"),) if scheme == "https" else ()
    return plain, _in_step(plain, WEB), *unlike


ECHO = Case("lockstep.echo.64B", Setup(), (NATIVE, FTTCP), partial(echo, size=64), "us", ECHO_S + 0.3)
WEB_OTHERS = {"http": (NATIVE,), "https": (NATIVE, HAPROXY_TLS)}
COST = tuple(
    tuple(case for kind in KINDS for case in _web(scheme, kind, WEB_OTHERS[scheme])) for scheme in WEB_OTHERS
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
    ((ECHO, _in_step(ECHO, ECHO.setup)), *COST, GAPS),
)
