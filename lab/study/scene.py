"""The servers and clients of an experiment in a campaign: each combination of what it sweeps is a scene.

A campaign draws scene, fault, moment and topology; the file's faults, repetitions and figures do not count.
A client is judged by what it prints, or by its exit status.
"""

from __future__ import annotations

import sys
from pathlib import Path

from msgspec.structs import replace

from lab import links
from lab.bench.rows import FTTCP
from lab.errors import LabError
from lab.experiment import Case
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES, PEER_LINK, SERVICE4, SERVICE6
from lab.probe.run import PLACE
from lab.speakers import Speaker
from lab.study.plan import Run, combinations, read
from lab.study.program import program, words
from lab.study.run import rehearse_all
from lab.study.schema import Client
from lab.study.served import EXPECTED, asked, preparation, recipe_of, streaming

MARGIN_S = 60.0
"""How much longer than it should a client may take."""


class Scene:
    """A server, with its clients and links; `scratch` is made for its files, and what its download has."""

    in_step = True
    names_flows = False

    def __init__(self, name: str, run: Run, scratch: Path) -> None:
        self.name, self._run, self._study, self._scratch = name, run, run.study, scratch
        scratch.mkdir()
        scratch.chmod(0o755)
        self.serve, self.settings = asked(self._study)
        self.prepare = preparation(self._study, scratch)
        self.segments = [segment.of_lab() for segment in self._study.segment]
        self.arbiter = self._study.lab.arbiter

    @property
    def stateful(self) -> bool:
        """Whether a new copy of the server lacks what clients have left in the other one."""
        kept = dict(one.split("=", 1) for one in self.settings)
        return kept.get("state", '"none"').strip('"') != "none" and "renew" not in kept

    def shape(self, lab: Lab, case: Case) -> None:
        """Make the links so as the file says; that of the lab's client is that of the run's."""
        for link in self._study.link:
            where = link.link if link.link in (PEER_LINK, *lab.nodes()) else self._place(link.link, case)
            sender = None if link.sender is None else self._place(link.sender, case)
            links.apply(lab, where, link.terms(), sender, case.seed)

    @staticmethod
    def _place(host: str, case: Case) -> str:
        """A host of the file, or what stands for the lab's client in a topology."""
        return case.client if host == CLIENT else host

    def speakers(self, case: Case, bound_s: float) -> list[Speaker]:
        """Its clients; that of a download may be silent for `bound_s`."""
        found = []
        for number, client in enumerate(self._study.client):
            timed = client.measure not in (None, "recipe") and not client.bytes
            limit_s = (self._study.seconds if timed else client.limit_s) + 4 * bound_s
            judge = [*self._judged(number, client, bound_s), "--limit", f"{limit_s:g}", "--"]
            own = [
                sys.executable,
                "-m",
                "lab.workloads.outside",
                *judge,
                *self._words(number, client, bound_s),
            ]
            place = self._place(client.host, case)
            found.append(Speaker(f"{self.name} ({number})", place, own, limit_s + MARGIN_S))
        return found

    def _judged(self, number: int, client: Client, bound_s: float) -> list[str]:
        """By what."""
        expected = None
        if client.measure == "recipe":
            expected = self._scratch / EXPECTED
        elif client.expect is not None:
            expected = self._scratch / f"expected-{number}"
            expected.write_text(client.expect)
        elif client.measure:
            return ["--measure"]
        told = expected is not None and expected.exists()
        return ["--expect", str(expected), "--bound", f"{bound_s:g}"] if told else []

    def _words(self, number: int, client: Client, bound_s: float) -> list[str]:
        address = SERVICE4 if client.family == 4 else SERVICE6
        told = {"SERVICE4": SERVICE4, "SERVICE6": SERVICE6, "MEASURE": program()}
        told |= {"RATE": str(client.rate), "SECONDS": f"{self._study.seconds:g}"}
        if client.measure == "recipe":
            script, port = streaming(self._study, self._scratch)
            return _with_environment(told | {"PORT": str(port)}, ["sh", "-c", script])
        impatient = replace(client, patience_s=bound_s)  # its own limit of a silence is that of the run
        return _with_environment(told, words(impatient, self._run, number, address))

    def lacks(self, lab: Lab) -> str:
        """What the server that is left lacks of an upload, if there is a proof of it."""
        recipe = recipe_of(self._study)
        if recipe is None or recipe.proof is None:
            return ""
        done = lab.exec("primary", ["env", "-C", PLACE, "sh", "-c", recipe.proof])
        return f"the server that is left lacks some: {done.stderr or done.stdout}" if done.returncode else ""


def _with_environment(told: dict[str, str], command: list[str]) -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in told.items()), *command]


def scenes_of(file: Path, scratch: Path) -> dict[str, Scene]:
    """Return the scenes of a file by their names, which are the values that are swept. Raises LabError."""
    study = read(file)
    rehearse_all(study, str(file))
    found: dict[str, Scene] = {}
    for run in combinations(study, str(file)):
        if trouble := _trouble(run):
            raise LabError(f"{file}: {trouble}")
        name = "-".join(str(value).replace("/", "-") for value in run.parameters.values()) or study.name
        if name in found:
            raise LabError(f"{file}: sweep: two of its combinations would be called {name}")
        found[name] = Scene(name, run, scratch / str(run.number))
    return dict(sorted(found.items()))


def _trouble(run: Run) -> str:
    """What a campaign cannot do of an experiment; nothing: ""."""
    place = run.study.lab
    if place.system != FTTCP:
        return f"lab.system: {place.system!r} has no campaign"
    if place.nodes != len(NODES):
        return f"lab.nodes: {place.nodes}: a campaign has pairs"
    late = [number for number, client in enumerate(run.study.client) if client.at_s]
    return f"client[{late[0]}].at_s: in a campaign all begin at once" if late else ""
