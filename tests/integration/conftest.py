"""The pair that the tests of a file share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.integration.pair import Pair, pair_named


@pytest.fixture(scope="module")
def shared_pair() -> Iterator[Pair]:
    """A lab that serves every workload. It goes with the file: an idle pair takes time of the processors from
    the tests that come after."""
    yield from pair_named("pair")


@pytest.fixture
def pair(shared_pair: Pair) -> Pair:
    """The shared pair, in step."""
    return shared_pair.ready()


# A shell's background jobs ignore SIGINT, and so would all that they start: here it can interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
