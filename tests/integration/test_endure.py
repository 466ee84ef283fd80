"""The experiment of the lab in which connections outlive one failure after the other, in short."""

from __future__ import annotations

import json
import os

from click.testing import CliRunner

from lab.endure import WORKLOADS, endure
from tests.integration.netns import needs_root

pytestmark = needs_root


def test_both_connections_outlive_failures_of_either_node() -> None:
    words = ["--failures", "3", "--fault", "crash-host,kill-server", "--size", "300000000", "--json"]
    done = CliRunner().invoke(endure, [*words, "--name", f"test-endure-{os.getpid()}"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["ok"] and set(report["clients"]) == set(WORKLOADS), report
    assert [one["fault"] for one in report["renewals"]] == ["crash-host", "kill-server", "crash-host"]
    assert len({one["of"] for one in report["renewals"]}) == 2, "both nodes failed"
