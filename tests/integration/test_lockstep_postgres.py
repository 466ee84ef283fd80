"""A session of PostgreSQL, over TLS and with a password, goes on when its host dies."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from lab.probe.recipes import RECIPES
from lab.probe.table import Trial

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab needs root")


def test_a_copy_out_of_a_database_goes_on() -> None:
    """The client has sworn by what the server drew (SCRAM), and knows the number of its process."""
    with tempfile.TemporaryDirectory(prefix="fttcp-postgres-", dir="/tmp") as scratch:
        what, gap_ms = Trial(RECIPES["postgres-tls"], Path(scratch)).crash("connection")
    assert what == "goes on" and gap_ms is not None
