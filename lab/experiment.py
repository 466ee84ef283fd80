"""One run: a client's workload over the pair, a disturbance in its middle, and the verdict with its evidence.

Tests and the campaign are made of runs. A run needs a pair in step and tells whether the promise held: every
byte right, no connection lost, takeover where one is due and none where none is, nobody speaking out of turn.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lab import links
from lab.capture import Capture, out_of_turn
from lab.control import NoAnswerError
from lab.errors import LabError
from lab.failures import (
    NOT_PROTECTED,
    Struck,
    await_alone,
    await_renewed,
    excused,
    in_state,
    lost_as_told,
    pause,
)
from lab.faults import make_fault
from lab.firewalls import RULE_ACTS, SLOW_ACTS
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.network import CLIENT, NODES, SERVICE4, SERVICE6
from lab.speakers import Clients, Speaker
from lab.wire import PLAIN, Terms
from lab.workloads.registry import WORKLOADS

SYNC_S = 30.0
TAKEOVER_S = 10.0
FREEZE_S = 1.5
RULES_S = 0.7
ENDS_S = 1.0
SETTLE_S = 2.0
"""How long the traffic goes on after the last of several failures."""
TCP_OPTIONS = {
    "sack": "net.ipv4.tcp_sack",
    "timestamps": "net.ipv4.tcp_timestamps",
    "window_scaling": "net.ipv4.tcp_window_scaling",
}


@dataclass(frozen=True)
class Disturbance:
    """What happens in a run: `before` the traffic, and at the case's moment (`strike`). `access`: what the
    client's own link is like all the time.

    `takeover`: the other node must own the service afterwards. `bound_s`: a longer stall is a failure.
    `mends`: the pair gets in step again by itself.
    """

    strike: Callable[[Lab], Any] = lambda lab: None
    before: Callable[[Lab], Any] = lambda lab: None
    access: Terms = PLAIN
    takeover: bool = True
    bound_s: float = 5.0
    mends: bool = False


LOSSY = Terms(loss_percent=1.0)
FAR_AND_BAD = Terms(delay_ms=20, jitter_ms=5, reorder_percent=0.5, duplicate_percent=0.2, loss_percent=0.3)
"""The access link of a client: one that loses, and one that does all that links do."""


def _lossy_peer(lab: Lab) -> Any:
    return make_fault(lab, "loss", "peer", LOSSY.loss_percent)


def _crash(lab: Lab) -> Any:
    return make_fault(lab, "crash-host", "primary")


def _act_on_rules(act: str, target: str) -> Callable[[Lab], Any]:
    """Others act on a node's rules; the traffic goes on for a while, then the primary crashes."""

    def strike(lab: Lab) -> Any:
        report = make_fault(lab, "rules", act, target)
        time.sleep(RULES_S)
        return {"rules": report, **_crash(lab)}

    return strike


DISTURBANCES: dict[str, Disturbance] = {
    "none": Disturbance(takeover=False, mends=True),
    "crash-host": Disturbance(_crash),
    "kill-server": Disturbance(lambda lab: make_fault(lab, "kill-server", "primary"), mends=True),
    "hang-server": Disturbance(lambda lab: make_fault(lab, "hang-server", "primary"), bound_s=8.0),
    "kill-node": Disturbance(lambda lab: make_fault(lab, "kill-node", "primary")),
    "freeze-node": Disturbance(lambda lab: make_fault(lab, "freeze-node", "primary", FREEZE_S), mends=True),
    "cut-client": Disturbance(lambda lab: make_fault(lab, "cut", "client", "primary")),
    "cut-peer": Disturbance(lambda lab: make_fault(lab, "cut", "peer", "primary"), takeover=False),
    "switchover": Disturbance(lambda lab: make_fault(lab, "switchover"), mends=True),
    "crash-backup": Disturbance(lambda lab: make_fault(lab, "crash-host", "backup"), takeover=False),
    "loss-client": Disturbance(_crash, access=LOSSY, bound_s=20.0),
    "loss-peer": Disturbance(_crash, _lossy_peer, bound_s=20.0),
    "loss-both": Disturbance(_crash, _lossy_peer, access=LOSSY, bound_s=20.0),
    "link-client": Disturbance(_crash, access=FAR_AND_BAD, bound_s=20.0),
    **{
        f"rules-{act}-{target}": Disturbance(_act_on_rules(act, target))
        for act in RULE_ACTS
        if act not in SLOW_ACTS
        for target in ("primary", "backup")
    },
}


@dataclass(frozen=True)
class Case:
    """What a run does; times in seconds. `moment_s` counts from the moment at which the traffic flows."""

    workload: str
    fault: str = "none"
    family: int = 4
    seed: int = 1
    moment_s: float = 1.5
    duration_s: float = 4.0
    size: int = 0
    rate: int = 12_000_000
    client_iss: int | None = None
    tcp: Mapping[str, bool] = field(default_factory=dict)  # client: sack, timestamps, window_scaling
    cookies: bool = False  # one of the nodes answers each SYN by a cookie, as in a flood
    then: tuple[tuple[str, float], ...] = ()  # further faults, each so long after connections were renewed
    pool: tuple[str, ...] = ()  # that they were drawn from
    client: str = CLIENT  # the host of the lab that is the client
    topology: str = "segment"  # where it and the nodes are, of a campaign


@dataclass
class Outcome:
    """What came of a run. `kind` is the client's kind of failure, or takeover, mend, silence, client.

    `detached`: flows that were let go in the run, by reason; a flow that ends with a failure of its
    backup or its owner is not among them.
    """

    case: Case
    ok: bool = False
    kind: str = ""
    why: str = ""
    gap_ms: float = 0.0
    detached: dict[str, int] = field(default_factory=dict)
    client: dict[str, Any] = field(default_factory=dict)
    takeover: dict[str, Any] = field(default_factory=dict)
    strike: Any = None
    directory: str = ""
    then: list[str] = field(default_factory=list)  # further faults that did strike
    unrenewed: int = 0  # connections that were still being caught up with at one of those
    excused: str = ""  # how a connection ended that was not protected as a node failed

    in_step: bool = False  # of a server that is kept in step, or of the user's own

    @property
    def cut(self) -> int:
        """Connections that were reset as another node took over, of servers that are kept in step."""
        return int(self.client.get("resets", 0)) if self.in_step else 0

    def fail(self, kind: str, why: str) -> None:
        """Note a failure; the first one is the run's kind, all are told."""
        self.ok = False
        self.kind = self.kind or kind
        self.why = "; ".join(filter(None, (self.why, f"{kind}: {why}")))


class Traffic(Protocol):
    """What the clients of a run do."""

    @property
    def in_step(self) -> bool:
        """Whether it is counted if its connections went on at a takeover."""

    @property
    def stateful(self) -> bool:
        """Whether its server keeps what a new copy of it does not have: then the pair does not mend."""

    @property
    def names_flows(self) -> bool:
        """Whether its clients name their ends of what they have lost."""

    def shape(self, lab: Lab, case: Case) -> None:
        """Make the links so as it wants them."""

    def speakers(self, case: Case, bound_s: float) -> list[Speaker]:
        """Its clients, for which a silence of more than `bound_s` is a failure."""

    def lacks(self, lab: Lab) -> str:
        """What the server that is left does not have of that which was sent to it; nothing: ""."""


def run(
    lab: Lab,
    case: Case,
    directory: Path,
    disturbance: Disturbance | None = None,
    traffic: Traffic | None = None,
) -> Outcome:
    """Run `case` on a pair in step. Evidence stays in `directory` when the run failed, or flows were
    detached or cut, else it is removed.

    `disturbance`, `traffic` replace those that the case names.

    Raises LabError when the lab itself could not do what the case asks for.
    """
    disturbance = disturbance or DISTURBANCES[case.fault]
    traffic = traffic or Workload(case.workload)
    directory.mkdir(parents=True, exist_ok=True)
    old = lab.node_in_role("primary")
    new = next(node for node in NODES if node != old) if disturbance.takeover else old
    outcome = Outcome(case, directory=str(directory), in_step=traffic.in_step)
    detached = Detached(lab)
    set_tcp_options(lab, case.tcp, case.client)
    set_cookies(lab, case.cookies)
    traffic.shape(lab, case)
    _prepare(lab, case, disturbance)
    bound_s = max(disturbance.bound_s, *(DISTURBANCES[fault].bound_s for fault, _ in case.then), 0)
    struck = Struck()
    with Capture(lab, directory, client=case.client) as capture:
        client = Clients(lab, traffic.speakers(case, bound_s), directory)
        try:
            if began := client.wait_started():
                time.sleep(case.moment_s)
                began = case.fault == "none" or not client.ended()
            if began:
                _note_status(lab, directory / "status-before.json")
                detached.look()
                if not traffic.names_flows:
                    struck.unprotected |= in_state(lab, old, NOT_PROTECTED)
                outcome.strike = disturbance.strike(lab)
                _strike_again(lab, outcome, traffic, client, struck, new, detached)
            outcome.client = client.finish()
        finally:
            client.kill()
        if began:
            _judge_takeover(lab, outcome, (struck.owners or [new])[-1])
        if began and disturbance.mends and not struck.owners and not traffic.stateful:
            _judge_mended(lab, outcome, old)
        _await_ends(lab)
        _note_status(lab, directory / "status-after.json")
        outcome.detached = detached.look()
        if outcome.client["ok"] and (lacking := traffic.lacks(lab)):
            outcome.fail("wrong", lacking)
        if not traffic.names_flows and disturbance.takeover and outcome.strike is not None:
            outcome.excused = lost_as_told(outcome.client, struck.unprotected, outcome.detached, lab.status())
    _judge(outcome, capture, turns([old, new, *struck.owners]), struck.unprotected)
    outcome.ok = not outcome.kind
    if outcome.kind and outcome.detached:
        outcome.why += f" (let go: {', '.join(f'{n} {why}' for why, n in outcome.detached.items())})"
    (directory / "outcome.json").write_text(json.dumps(asdict(outcome), indent=1, default=str) + "\n")
    if outcome.ok and not outcome.detached and not outcome.cut and not outcome.excused:
        shutil.rmtree(directory)
        return outcome
    keep_logs(lab, directory)
    return outcome


def turns(owners: list[str]) -> list[str]:
    """Who speaks after whom: owners one after the other, without repetitions."""
    return [owner for before, owner in zip(["", *owners], owners, strict=False) if owner != before]


def start_client(lab: Lab, case: Case, directory: Path, bound_s: float) -> Clients:
    """Start the client of a case; a silence of more than `bound_s` is a failure."""
    return Clients(lab, Workload(case.workload).speakers(case, bound_s), directory)


def _prepare(lab: Lab, case: Case, disturbance: Disturbance) -> None:
    """What is to be so before a disturbance."""
    disturbance.before(lab)
    if disturbance.access != PLAIN:
        links.worsen(lab, case.client, disturbance.access, case.seed)


def _strike_again(
    lab: Lab,
    outcome: Outcome,
    traffic: Traffic,
    client: Clients,
    struck: Struck,
    owner: str,
    detached: Detached,
) -> None:
    """The case's further faults, each on a pair that is whole again and has renewed its connections."""
    for fault, moment_s in outcome.case.then:
        _judge_takeover(lab, outcome, owner)
        if outcome.kind or client.ended():
            break
        try:
            last = DISTURBANCES[[outcome.case.fault, *outcome.then][-1]]
            if not (last.takeover or last.mends):
                await_alone(lab, owner)
            revive(lab)
            traffic.shape(lab, outcome.case)
            struck.unrenewed += await_renewed(lab, client)
        except LabError as error:
            outcome.fail("renew", str(error))
            break
        owner = lab.node_in_role("primary")
        if not pause(client, moment_s):
            break
        disturbance = DISTURBANCES[fault]
        _prepare(lab, outcome.case, disturbance)
        detached.look()
        struck.unprotected |= in_state(lab, owner, NOT_PROTECTED)
        disturbance.strike(lab)
        owner = next(node for node in NODES if node != owner) if disturbance.takeover else owner
        struck.owners.append(owner)
        outcome.then.append(fault)
    if len(struck.owners) == len(outcome.case.then) > 0 and pause(client, SETTLE_S):
        client.enough()
    outcome.unrenewed = struck.unrenewed


def keep_logs(lab: Lab, directory: Path) -> None:
    """Copy the daemons' logs to `directory`, which is made if need be."""
    directory.mkdir(parents=True, exist_ok=True)
    for node in lab.nodes():
        if lab.log(node).exists():
            shutil.copyfile(lab.log(node), directory / f"{node}.log")


def _judge(outcome: Outcome, capture: Capture, expected: list[str], unprotected: Mapping[str, str]) -> None:
    """Add to the outcome what client and captures tell."""
    client = outcome.client
    outcome.gap_ms = client.get("gap_ms", 0.0)
    if outcome.excused:
        pass  # lost, as the nodes had told
    elif not client["ok"] and excused(client["kind"], client["errors"], unprotected):
        outcome.excused = f"{client['why']} ({'; '.join(sorted(set(unprotected.values())))})"
    elif not client["ok"]:
        outcome.fail(client["kind"], client["why"])
    elif client.get("resets") and len(expected) < 2:
        outcome.fail("reset", f"{client['resets']} connections were reset, and nobody took over")
    elif outcome.strike is None and outcome.case.fault != "none":
        outcome.fail("client", "it had ended before the fault")
    told = out_of_turn(capture.spans(), expected)
    if told:
        outcome.fail("silence", told)
    if capture.dropped:
        raise LabError(f"{capture.directory}: {capture.dropped} frames are missing in the captures")


def _judge_takeover(lab: Lab, outcome: Outcome, owner: str) -> None:
    """The service must be owned by `owner` now, or soon."""
    try:
        status = lab.wait(f"primary={owner}", TAKEOVER_S)
    except LabError as error:
        outcome.fail("takeover", f"{owner} does not own the service after {outcome.case.fault}: {error}")
        return
    (groups,) = (node["groups"] for node in status["nodes"] if node["node"] == owner)
    takeovers = groups[0].get("takeovers") or [{}]
    outcome.takeover = takeovers[-1]


def _judge_mended(lab: Lab, outcome: Outcome, old: str) -> None:
    """The pair must get in step again without help; the captures so cover the return of the old owner."""
    try:
        if outcome.case.fault == "freeze-node":
            await_condition(
                lambda: lab.node_process(old).state() != "T", FREEZE_S + SYNC_S, "end of the freeze"
            )
        lab.wait("synced", SYNC_S)
    except LabError as error:
        outcome.fail("mend", str(error))


class Detached:
    """Counts the flows that the nodes let go from its making on, by reason. What a node told is kept when
    the node dies; look() before that."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._seen = dict.fromkeys(lab.nodes(), 0)
        self._counts: Counter[str] = Counter()
        self.look()
        self._counts.clear()

    def look(self) -> dict[str, int]:
        """Take in what the nodes that answer have told since the last look; returns the counts."""
        for node in self._seen:
            try:
                events = self._lab.ask(node, {"op": "events", "since": self._seen[node]})["events"]
            except NoAnswerError:
                continue  # dead or stopped: that is what runs are about
            self._seen[node] = max([self._seen[node], *(int(event["number"]) for event in events)])
            self._counts.update(event["reason"] for event in events if event["event"] == "flow-detached")
        return dict(self._counts)


def _await_ends(lab: Lab) -> None:
    """Wait, not for long, until the client's connections are over on the nodes too: some are detached only
    then, when their servers do not end them alike. UDP sessions have no end."""

    def over() -> bool:
        flows = [group.get("flows", {}) for node in lab.status()["nodes"] for group in node["groups"]]
        return all(
            kinds.get("protected", 0) + kinds.get("opening", 0) <= kinds.get("udp", 0) for kinds in flows
        )

    with suppress(LabError):  # what is left then is told by the status that is kept
        await_condition(over, ENDS_S, "the end of the client's connections", interval_s=0.02)


def _note_status(lab: Lab, path: Path) -> None:
    path.write_text(json.dumps(lab.status(), indent=1) + "\n")


def mend(lab: Lab) -> None:
    """Bring the lab back to a pair in step after a run; raises LabError when that fails."""
    set_tcp_options(lab, {})
    set_cookies(lab, False)
    revive(lab)


def revive(lab: Lab) -> None:
    """Links without faults, both nodes alive, the pair in step; raises LabError when that fails."""
    make_fault(lab, "heal")
    for node in lab.daemon_hosts():
        try:
            lab.host(node).require_alive()
            lab.node_process(node)
        except LabError:
            make_fault(lab, "restart-host", node)
    lab.wait("synced", SYNC_S)


def set_tcp_options(lab: Lab, options: Mapping[str, bool], client: str = CLIENT) -> None:
    """Turn a client's TCP options (sack, timestamps, window_scaling) on or off; those not named are on.

    Raises LabError for an option that does not exist.
    """
    unknown = set(options) - set(TCP_OPTIONS)
    if unknown:
        raise LabError(
            f"TCP option {', '.join(sorted(unknown))}: there is none; wanted: {', '.join(TCP_OPTIONS)}"
        )
    values = [f"{key}={int(options.get(name, True))}" for name, key in TCP_OPTIONS.items()]
    lab.host(client).run(["sysctl", "-q", "-w", *values])


def set_cookies(lab: Lab, always: bool) -> None:
    """Let one node answer every SYN by a cookie, or, as usual, only in a flood. Its initial sequence number
    and timestamp then have nothing to do with those of the other."""
    host = lab.host(NODES[1])
    if host.alive():
        host.run(["sysctl", "-q", "-w", f"net.ipv4.tcp_syncookies={2 if always else 1}"])


@dataclass(frozen=True)
class Workload:
    """Traffic of a workload of ours."""

    workload: str
    stateful = False
    names_flows = True

    @property
    def in_step(self) -> bool:
        """As the registry says."""
        return WORKLOADS[self.workload].in_step

    def shape(self, lab: Lab, case: Case) -> None:
        """It takes them as they are."""

    def speakers(self, case: Case, bound_s: float) -> list[Speaker]:
        """Its one client."""
        port = WORKLOADS[self.workload].port(case.family)
        words = [sys.executable, "-m", "lab.workloads.client", self.workload, "--json"]
        words += ["--address", SERVICE4 if case.family == 4 else SERVICE6]
        words += ["--port", str(port), "--seed", str(case.seed)]
        words += ["--duration", str(case.duration_s), "--bound", str(bound_s)]
        words += ["--size", str(case.size), "--rate", str(case.rate), "--failures", str(1 + len(case.then))]
        if case.client_iss is not None:
            words += ["--client-iss", str(case.client_iss)]
        return [Speaker(self.workload, case.client, words, case.duration_s * 3 + 8 * bound_s + 30)]

    def lacks(self, lab: Lab) -> str:
        """Its client has verified all."""
        return ""
