"""Unmodified servers, run as docs/servers.md says: a long download outlives the host of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.probe.recipes import RECIPES
from lab.probe.table import Trial
from tests.integration.netns import needs_root

pytestmark = needs_root

OFF, STEP = "off", "connection"
SERVERS = {
    "rsync": OFF,
    "dnsmasq-tftp": OFF,
    "websocket": OFF,
    "lighttpd-tls": STEP,
    "apache-event": STEP,
    "nginx-h2": STEP,
    "vsftpd": STEP,
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_download_goes_on_when_the_host_crashes(name: str, tmp_path: Path) -> None:
    """Every byte is right, in one connection."""
    kept, gap_ms = Trial(RECIPES[name], tmp_path).crash(SERVERS[name])
    assert kept == "goes on" and gap_ms is not None
