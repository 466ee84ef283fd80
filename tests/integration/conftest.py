"""The pair that the tests of a session share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.integration.pair import Pair, pair_named


@pytest.fixture(scope="session")
def session_pair() -> Iterator[Pair]:
    """The lab that most tests share; it serves every workload."""
    yield from pair_named("pair")


@pytest.fixture
def pair(session_pair: Pair) -> Pair:
    """The shared pair, in step."""
    return session_pair.ready()


# A shell's background jobs ignore SIGINT, and so would all that they start: here it can interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
