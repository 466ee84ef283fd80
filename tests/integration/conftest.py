"""The pair that the tests of a file share, and what is told of a failure on real kernels."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from lab.state import LABS
from tests.integration.pair import Pair, pair_named
from tests.integration.stillness import MachineStoodStillError, Watcher


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

LAST_LINES = 60
WATCHER = pytest.StashKey[Watcher]()


def watcher(config: pytest.Config) -> Watcher:
    """Of this process of pytest; it begins with the first test on real kernels."""
    if WATCHER not in config.stash:
        config.stash[WATCHER] = Watcher()
        config.add_cleanup(config.stash[WATCHER].close)
    return config.stash[WATCHER]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    watcher(item.config).worst_ms()
    with told_if_it_stood_still(item):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with told_if_it_stood_still(item):
        yield


@contextmanager
def told_if_it_stood_still(item: pytest.Item) -> Iterator[None]:
    """pyproject.toml has such a test done again."""
    try:
        yield
    except Exception as error:
        late_ms = watcher(item.config).worst_ms()
        if late_ms:
            raise MachineStoodStillError(f"for {late_ms:.0f} ms: {error}") from error
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure stands what the daemons of this process's labs had told last: where the test ran,
    nothing else may be left of them."""
    report = yield
    if report.when == "call" and report.failed:
        for log in sorted(LABS.glob(f"*-{os.getpid()}/*/log/*.log")):
            lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
            report.sections.append((f"{log.parts[-3]}, its last {len(lines)} lines", "\n".join(lines)))
    return report
