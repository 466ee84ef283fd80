"""A pair and a witness on a third host: each cut, each pair of cuts, and strangers, with traffic running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from lab import experiment, network
from lab.capture import Capture, out_of_turn
from lab.control import NoAnswerError
from lab.experiment import Case, start_client
from lab.faults import make_fault
from lab.hosts import Host, await_condition
from lab.lifecycle import Lab
from lab.network import NODES
from lab.workloads.registry import serve_specs
from tests.integration.netns import needs_root
from tests.integration.pair import pair_named, who_serves

pytestmark = needs_root

TRAFFIC = Case("both", duration_s=2.0)
STALL_S = 10.0
BEATS = 7710
PARTS = ("client", "peer", "beats", "arbiter-primary", "arbiter-backup")
"""What may be cut: the primary's clients, the nodes' link, all heartbeats, and who hears the arbiter."""

LOST = ("reset", "closed", "refused", "stall")


def cut_sets() -> list[frozenset[str]]:
    """Every cut, each pair, and all three links at once; the arbiter of both nodes counts as one cut."""
    both = frozenset(PARTS[3:])
    single = [*(frozenset((part,)) for part in PARTS), both]
    pairs = [one | other for one, other in combinations(single, 2)]
    links = [frozenset(("client", "peer")) | arbiter for arbiter in single[3:]]
    return list(dict.fromkeys([*single, *pairs, *links]))


class Partitions:
    """The lab, and the cuts by their names."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def cut(self, parts: frozenset[str], primary: str) -> None:
        """Cut all these links in one stroke; then the heartbeats. A primary that misses them first goes on
        alone, and rightly; with its clients or its arbiter cut later, its connections would be nobody's."""
        nodes = {"primary": primary, "backup": other_than(primary)}
        chosen = []
        for part in parts - {"beats"}:
            link, _, role = part.partition("-")
            chosen += network.cables(nodes[role or "primary"], link)
        network.set_links(self.lab.host("switch"), chosen, up=False)
        if "beats" in parts:
            for node in NODES:
                self.deafen(node)

    def deafen(self, node: str) -> None:
        """Let the node hear no heartbeat."""
        add_rules(self.lab.host(node), "deaf", ["input"], f"udp dport {BEATS} drop")

    def heal(self) -> None:
        """Undo every cut."""
        for node in NODES:
            if self.lab.host(node).alive():
                self.lab.host(node).run(["nft", "add table inet deaf; delete table inet deaf"])
        experiment.mend(self.lab)

    def await_serving(self, node: str) -> None:
        """Wait until this node alone may emit and a new client is served."""
        await_condition(lambda: who_serves(self.lab) == [node], 15, f"{node} serves")
        await_condition(self.served, 15, f"a new client is served by {node}")

    def await_noticed(self, parts: frozenset[str], primary: str) -> None:
        """Wait until the nodes tell of every cut."""
        links = {0, 1} - ({0} if "peer" in parts else set()) - ({1} if "client" in parts else set())
        links = set() if "beats" in parts else links
        for role, node in (("primary", primary), ("backup", other_than(primary))):
            cut_off = f"arbiter-{role}" in parts

            def noticed(node: str = node, cut_off: bool = cut_off) -> bool:
                group = self.group(node)
                reached = group["ownership"]["arbiter"]["reachable"]
                return set(group["links_up"]) == links and reached is not cut_off

            await_condition(noticed, 15, f"{node} notices {sorted(parts)}")

    def served(self) -> bool:
        request = ["curl", "-sS", "-o", "/dev/null", "--max-time", "1", "http://10.77.0.100/"]
        return self.lab.exec("client", request).returncode == 0

    def group(self, node: str) -> dict[str, Any]:
        """What `node` says of the group; {} while its daemon does not run, or is just starting."""
        try:
            said = self.lab.ask(node, {"op": "status"}, 5)["groups"]
        except NoAnswerError:
            return {}
        return dict(said[0]) if said else {}

    def events(self, node: str) -> list[dict[str, Any]]:
        """All that the daemon of `node` tells of since its start."""
        return list(self.lab.ask(node, {"op": "events", "since": 0}, 5)["events"])

    def tells(self, node: str, what: str) -> bool:
        """Whether an event of `node` tells of an intrusion of this kind; not while it does not answer."""
        events = self.events(node) if self.group(node) else []
        return any(event["event"] == "intrusion" and what in event["what"] for event in events)


def add_rules(host: Host, table: str, hooks: list[str], rule: str) -> None:
    """Have the kernel of `host` apply a rule to what it receives, or sends, or both."""
    lines = [f"add table inet {table}"]
    for hook in hooks:
        lines.append(f"add chain inet {table} {hook} {{ type filter hook {hook} priority 0; }}")
        lines.append(f"add rule inet {table} {hook} {rule}")
    host.run(["nft", "-f", "-"], text_input="\n".join(lines) + "\n")


def other_than(node: str) -> str:
    return next(name for name in NODES if name != node)


def owner(parts: frozenset[str], primary: str) -> str | None:
    """Who must serve under these cuts: a node with clients that is heard by one of the two others.

    The nodes hear each other over the clients' network too: the loss of their own link leaves them in touch.
    """
    parted = "beats" in parts or {"client", "peer"} <= parts
    if not parted:
        return other_than(primary) if "client" in parts else primary
    if "client" not in parts and "arbiter-primary" not in parts:
        return primary if "arbiter-backup" in parts else "either"
    return other_than(primary) if "arbiter-backup" not in parts else None


@pytest.fixture(scope="module")
def partitions() -> Iterator[Partitions]:
    for pair in pair_named("parted"):
        pair.lab.up(serve_specs(("both", "http")), arbiter="witness")
        yield Partitions(pair.lab)


@pytest.fixture(autouse=True)
def in_step(partitions: Partitions) -> Iterator[None]:
    partitions.heal()
    yield


def through(
    partitions: Partitions,
    directory: Path,
    events: Callable[[str], list[str]],
    case: Case = TRAFFIC,
    keeps: bool = True,
) -> None:
    """Have a client send and receive while `events`, given the primary, happen; they return who may serve.

    No byte may be wrong, and no node may speak for the service before or after its turn. The connection may
    be lost, without a wrong byte, unless it `keeps`.
    """
    lab = partitions.lab
    primary = lab.node_in_role("primary")
    with Capture(lab, directory) as capture:
        client = start_client(lab, case, directory, STALL_S)
        try:
            assert client.wait_started(), "the client ended before the cut"
            turns = events(primary)
            report = client.finish()
        finally:
            client.kill()
    assert report["ok"] or (not keeps and report["kind"] in LOST), f"{report['kind']}: {report['why']}"
    assert not out_of_turn(capture.spans(), turns)
    assert not capture.dropped


@pytest.mark.parametrize("parts", cut_sets(), ids=lambda parts: "+".join(sorted(parts)))
def test_one_node_serves_under_every_cut(
    partitions: Partitions, parts: frozenset[str], tmp_path: Path
) -> None:
    def cut_and_heal(primary: str) -> list[str]:
        expected = owner(parts, primary)
        partitions.cut(parts, primary)
        partitions.await_noticed(parts, primary)
        if expected is None:
            await_condition(lambda: not who_serves(partitions.lab), 15, "silence: there is no majority")
        elif expected == "either":
            await_condition(lambda: len(who_serves(partitions.lab)) == 1, 15, "one of them serves")
            (expected,) = who_serves(partitions.lab)
        if expected is not None:
            partitions.await_serving(expected)
        partitions.heal()
        return [primary, expected or partitions.lab.node_in_role("primary")]

    through(partitions, tmp_path, cut_and_heal, keeps=owner(parts, NODES[0]) is not None)


def test_nodes_that_part(partitions: Partitions, tmp_path: Path) -> None:
    """The arbiter, which reaches both, leaves the service to one of them; clients go on with that one."""

    def part(primary: str) -> list[str]:
        make_fault(partitions.lab, "part")
        await_condition(
            lambda: not any(partitions.group(node)["links_up"] for node in NODES),
            15,
            "neither hears the other",
        )
        await_condition(lambda: len(who_serves(partitions.lab)) == 1, 15, "one of them serves")
        (owner,) = who_serves(partitions.lab)
        partitions.await_serving(owner)
        partitions.heal()
        return [primary, owner]

    through(partitions, tmp_path, part)


def test_the_arbiter_is_lost_and_comes_back(partitions: Partitions, tmp_path: Path) -> None:
    def lose(primary: str) -> list[str]:
        for fault in ("cut", "kill-node"):
            make_fault(partitions.lab, fault, *(["arbiter"] if fault == "cut" else []), "witness")
            await_condition(
                lambda: (
                    not any(partitions.group(node)["ownership"]["arbiter"]["reachable"] for node in NODES)
                ),
                15,
                "both nodes miss the arbiter",
            )
            assert who_serves(partitions.lab) == [primary] and partitions.group(primary)["synced"]
            partitions.heal()
            await_condition(
                lambda: all(partitions.group(node)["ownership"]["arbiter"]["reachable"] for node in NODES),
                15,
                "both nodes reach the arbiter again",
            )
        return [primary]

    through(partitions, tmp_path, lose)


def test_a_flapping_link_between_the_nodes(partitions: Partitions, tmp_path: Path) -> None:
    def flap(primary: str) -> list[str]:
        switch, chosen = partitions.lab.host("switch"), network.cables(primary, network.PEER_LINK)
        for _ in range(5):
            network.set_links(switch, chosen, up=False)
            await_condition(lambda: 0 not in partitions.group(primary)["links_up"], 15, "the link is missed")
            network.set_links(switch, chosen, up=True)
            await_condition(lambda: 0 in partitions.group(primary)["links_up"], 15, "the link is back")
        partitions.await_serving(primary)
        partitions.heal()
        return [primary]

    through(partitions, tmp_path, flap)


def wrong_key(host: Host) -> None:
    """The node has another key than its peer; the witness's is right."""
    (host.home / "key").write_text("5a" * 32 + "\n")


def wrong_cluster(host: Host) -> None:
    """The node believes to be of another cluster, with the same key."""
    config = host.home / "node.toml"
    config.write_text(config.read_text().replace('cluster = "lab"', 'cluster = "other"'))


def newer_version(host: Host) -> None:
    """To each other's ears, the heartbeats of both nodes bear a version number of another release."""
    add_rules(host, "newer", ["input", "output"], f"udp dport {BEATS} @th,96,8 set 255")


@pytest.mark.parametrize(
    ("prepare", "told"),
    [(wrong_key, "bad MAC"), (wrong_cluster, "another cluster"), (newer_version, "another version")],
)
def test_a_stranger_is_never_paired(
    partitions: Partitions, prepare: Callable[[Host], None], told: str, tmp_path: Path
) -> None:
    lab = partitions.lab
    files: dict[Path, str] = {}

    def meet(primary: str) -> list[str]:
        stranger = other_than(primary)
        files.update({lab.home / stranger / name: "" for name in ("key", "node.toml")})
        files.update({path: path.read_text() for path in files})
        make_fault(lab, "crash-host", stranger)
        lab.restart_host(stranger, prepare)
        for node in NODES:
            await_condition(
                partial(partitions.tells, node, told),
                15,
                f"{node} tells: {told}",
            )
        await_condition(
            lambda: partitions.group(stranger)["counters"]["beats_sent"] > 400, 20, "it tries for a while"
        )
        partitions.await_serving(primary)
        for node in NODES:
            events = partitions.events(node)
            since = max((i for i, e in enumerate(events) if e["event"] == "peer-lost"), default=0)
            assert "peer-up" not in {event["event"] for event in events[since:]}
            assert not partitions.group(node)["synced"]
        return [primary]

    try:
        through(partitions, tmp_path, meet, Case("both", duration_s=5.0))
    finally:
        for path, text in files.items():
            path.write_text(text)
            lab.restart_host(path.parent.name)
