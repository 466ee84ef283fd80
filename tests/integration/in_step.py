"""A lab whose servers are kept in step, made once for the tests of a file."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lab import experiment
from lab.errors import LabError
from lab.lifecycle import Lab


class Place(NamedTuple):
    """The lab, the directory of its servers' files, and what it serves."""

    lab: Lab
    home: Path
    serve: list[str]

    def up(self) -> None:
        """From nothing."""
        self.lab.up(self.serve, ("lockstep=connection",))

    def mended(self) -> Place:
        """In step again."""
        try:
            experiment.mend(self.lab)
        except LabError:
            self.lab.down()
            self.up()
        return self

    def sha256(self) -> str:
        """Of the file that is served."""
        return hashlib.sha256((self.home / "files" / "file").read_bytes()).hexdigest()

    def told(self, node: str) -> dict[str, Any]:
        """The group's status on a node."""
        return dict(self.lab.ask(node, {"op": "status"}, timeout_s=5.0)["groups"][0])

    def flows(self, node: str) -> list[str]:
        """What protects its living connections; of those that nothing does, why."""
        known = self.lab.ask(node, {"op": "connections", "limit": 100}, timeout_s=5.0)["connections"]
        kinds = [(flow, str(flow["protection"])) for flow in known]
        return [kind if kind == "protected" else f"{kind}, {flow}" for flow, kind in kinds]

    def connections(self, node: str) -> list[dict[str, Any]]:
        """What is known of its connections, those that have ended as well."""
        request = {"op": "connections", "limit": 20, "all": True}
        return list(self.lab.ask(node, request, timeout_s=5.0)["connections"])


def place_of(
    name: str, prepare: Callable[[Path], object], serve: Callable[[Path], list[str]]
) -> Iterator[Place]:
    """Yield one that serves what `serve` names, with the files that `prepare` makes in its directory; /tmp is
    one for all hosts of a lab."""
    home = Path(tempfile.mkdtemp(prefix=f"fttcp-{name}-", dir="/tmp"))
    home.chmod(0o755)  # servers read their files as other users
    lab = Lab(f"test-{name}-{os.getpid()}")
    try:
        prepare(home)
        place = Place(lab, home, serve(home))
        place.up()
        yield place
    finally:
        lab.down()
        shutil.rmtree(home)
