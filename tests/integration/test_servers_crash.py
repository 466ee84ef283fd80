"""Unmodified servers, run as docs/servers.md says: a long download outlives the host of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.probe.recipes import RECIPES
from lab.probe.table import Trial
from tests.integration.netns import needs_root

pytestmark = needs_root

OFF, STEP = "off", "connection"
MBIT = 80.0
GO_ON = {
    "memcached": OFF,
    "redis": OFF,
    "mosquitto": OFF,
    "rsync": OFF,
    "dnsmasq-tftp": OFF,
    "websocket": OFF,
    "lighttpd": OFF,
    "git-http": OFF,
    "tgt": OFF,
    "ganesha": OFF,
    "exim": OFF,
    "exim-starttls": STEP,
    "lighttpd-tls": STEP,
    "lighttpd-gnutls": STEP,
    "apache-event": STEP,
    "apache-prefork": STEP,
    "nginx-h2": STEP,
    "vsftpd": STEP,
}
JUDGED = (
    "git",
    "haproxy-tls",
    "stunnel",
    "python-ssl",
    "nodejs-tls",
    "java-tls",
    "dovecot-imap",
    "dovecot-pop3",
)
"""Their records follow from what a read happened to bring, or from random numbers of their own: with some
luck, or never, both copies say the same."""


@pytest.mark.parametrize("name", GO_ON)
def test_what_goes_on_when_the_host_crashes(name: str, tmp_path: Path) -> None:
    """Every byte is right, in one connection; of a mail that was being sent the server left has all."""
    kept, gap_ms = Trial(RECIPES[name], tmp_path).crash(GO_ON[name], MBIT)
    assert kept == "goes on" and gap_ms is not None


@pytest.mark.parametrize("name", JUDGED)
def test_what_goes_on_or_is_lost(name: str, tmp_path: Path) -> None:
    """Until the connection is lost every byte is right: `crash` raises an error where one is not."""
    kept, _ = Trial(RECIPES[name], tmp_path).crash(STEP, MBIT)
    assert kept in ("goes on", "lost")
