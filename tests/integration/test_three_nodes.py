"""Three nodes and a witness on real kernels: crashes in a row, spares, partitions, with traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab import experiment, network
from lab.capture import Capture, out_of_turn
from lab.errors import LabError
from lab.experiment import Case, start_client
from lab.faults import make_fault
from lab.hosts import await_condition
from lab.lifecycle import Lab
from lab.workloads.registry import serve_specs
from tests.integration.netns import needs_root
from tests.integration.pair import pair_named, who_serves
from tests.integration.renewing import begun
from tests.integration.test_partitions import BEATS, add_rules

pytestmark = needs_root

TRAFFIC = Case("both", duration_s=2.0)
STALL_S = 10.0
WITHIN_S = 20.0


class Trio:
    """The lab, and who is what in it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def group(self, node: str) -> dict[str, Any]:
        """What `node` says of the group; {} while it does not answer."""
        (found,) = (said for said in self.lab.status()["nodes"] if said["node"] == node)
        return dict(found["groups"][0]) if found["groups"] else {}

    def seen_by(self, node: str) -> dict[str, str]:
        """The roles in which `node` sees all nodes."""
        return {one["name"]: one["role"] for one in self.group(node).get("nodes", [])}

    def roles(self) -> tuple[str, str, str]:
        """Primary, backup, spare."""
        primary, backup, spare = map(self.lab.node_in_role, ("primary", "backup", "spare"))
        return primary, backup, spare

    def await_pair(self, primary: str, backup: str) -> None:
        """Wait until these two are in step, in these roles."""

        def paired() -> bool:
            roles = self.seen_by(primary)
            return self.group(primary).get("synced", False) and (roles[primary], roles[backup]) == (
                "primary",
                "backup",
            )

        await_condition(paired, WITHIN_S, f"{primary} is in step with {backup}")
        await_condition(lambda: self.group(backup)["synced"], WITHIN_S, f"{backup} knows")

    def through(
        self, directory: Path, events: Callable[[], list[str]], case: Case = TRAFFIC, until_then: bool = False
    ) -> dict[str, Any]:
        """Have a client send and receive while `events` happen, which return who may serve, in order: no byte
        is wrong, none is lost, and nobody speaks for the service out of turn. Returns the client's report.
        `until_then`: the client goes on until all has happened."""
        with Capture(self.lab, directory) as capture:
            client = start_client(self.lab, case, directory, STALL_S)
            try:
                assert client.wait_started(), "the client ended before anything happened"
                turns = events()
                if until_then:
                    client.enough()
                report = client.finish()
            finally:
                client.kill()
        assert report["ok"], report
        assert not out_of_turn(capture.spans(), turns)
        assert not capture.dropped
        return report

    def all_healthy(self, node: str) -> bool:
        """Whether `node` hears of all that are there that their servers are healthy."""
        nodes = self.group(node)["nodes"]
        return all(one["healthy"] for one in nodes if one["role"] != "absent")

    def events(self, node: str) -> list[dict[str, Any]]:
        """All that the daemon of `node` tells of since its start."""
        return list(self.lab.ask(node, {"op": "events", "since": 0}, 5)["events"])

    def knows_pair(self, node: str, primary: str, backup: str) -> bool:
        """True if `node` has heard from the arbiter that these two are the pair."""
        record = self.group(node)["ownership"]["record"]
        return record is not None and (record["holder"], record["backup"]) == (primary, backup)

    def protected(self, node: str) -> int:
        """How many connections of the group are protected on `node`."""
        return int(self.group(node)["flows"]["protected"])


@pytest.fixture(scope="module")
def trio() -> Iterator[Trio]:
    for pair in pair_named("trio"):
        pair.lab.up(serve_specs(["both"]), arbiter="witness", nodes=3)
        yield Trio(pair.lab)


@pytest.fixture(autouse=True)
def in_place(trio: Trio) -> Iterator[None]:
    """Everybody is in its place before, and nobody's network or group is in trouble after each test."""
    experiment.mend(trio.lab)
    yield
    for node in trio.lab.nodes():
        if trio.group(node):
            trouble = {"rules-missing", "background-failed", "fenced", "peer-misunderstood"}
            assert not [event for event in trio.events(node) if event["event"] in trouble]


def test_everybody_sees_the_same_roles(trio: Trio) -> None:
    primary, backup, spare = trio.roles()
    wanted = {primary: "primary", backup: "backup", spare: "spare"}
    await_condition(
        lambda: all(trio.seen_by(node) == wanted for node in trio.lab.nodes()), WITHIN_S, "the same roles"
    )
    assert trio.group(spare)["peer"] == primary
    refused = trio.lab.ask(spare, {"op": "switchover", "group": "lab"}, 5)
    assert "this node is a spare" in str(refused["error"])


def test_two_hosts_die_one_after_the_other_and_the_first_only_joins(trio: Trio, tmp_path: Path) -> None:
    first, second, third = trio.roles()

    def crash_first() -> list[str]:
        make_fault(trio.lab, "crash-host", first)
        trio.await_pair(second, third)
        await_condition(lambda: knows(trio, second, third), WITHIN_S, "the mirror's neighbours are known")
        return [first, second]

    def crash_second() -> list[str]:
        assert trio.protected(second) == 1
        make_fault(trio.lab, "crash-host", second)
        trio.lab.wait(f"primary={third}", WITHIN_S)
        return [second, third]

    def first_returns() -> list[str]:
        trio.lab.restart_host(first)
        trio.await_pair(third, first)
        return [third]

    trio.through(tmp_path / "1", crash_first)
    trio.through(tmp_path / "2", crash_second)
    trio.through(tmp_path / "3", first_returns)
    trio.through(tmp_path / "4", lambda: switched(trio, third, first))


def knows(trio: Trio, node: str, peer: str) -> bool:
    """Whether the kernel of `node` knows where both addresses of a peer on the peer link are."""
    (cable,) = network.cables(peer, network.PEER_LINK)
    known = trio.lab.host(node).run(["ip", "neigh", "show", "dev", "peer0"]).splitlines()
    places = {line.split()[0] for line in known if cable.mac in line}
    return {str(cable.address4.ip), str(cable.address6.ip)} <= places


def switched(trio: Trio, old: str, new: str) -> list[str]:
    """Move the service on purpose."""
    make_fault(trio.lab, "switchover", old)
    trio.lab.wait(f"primary={new}", WITHIN_S)
    return [old, new]


def test_a_switchover_leaves_the_spare_where_it_is(trio: Trio, tmp_path: Path) -> None:
    primary, backup, spare = trio.roles()
    trio.through(tmp_path, lambda: switched(trio, primary, backup))
    trio.lab.wait("synced", WITHIN_S)
    assert trio.lab.node_in_role("primary") == backup
    assert {primary, spare} == {trio.lab.node_in_role("backup"), trio.lab.node_in_role("spare")}


def test_the_backup_dies_and_the_spare_protects_what_begins_then(trio: Trio, tmp_path: Path) -> None:
    primary, backup, spare = trio.roles()

    def crash_backup() -> list[str]:
        make_fault(trio.lab, "crash-host", backup)
        trio.await_pair(primary, spare)
        return [primary]

    def crash_primary() -> list[str]:
        assert trio.protected(primary) == 1
        make_fault(trio.lab, "crash-host", primary)
        trio.lab.wait(f"primary={spare}", WITHIN_S)
        return [primary, spare]

    trio.through(tmp_path / "1", crash_backup)
    trio.through(tmp_path / "2", crash_primary)


def test_one_connection_outlives_two_hosts_as_a_spare_catches_up(trio: Trio, tmp_path: Path) -> None:
    first, second, third = trio.roles()

    def crash_both() -> list[str]:
        for old, new, backup in ((first, second, third), (second, third, first)):
            make_fault(trio.lab, "crash-host", old)
            trio.lab.wait(f"primary={new}", WITHIN_S)
            if old == second:
                trio.lab.restart_host(first)
            trio.await_pair(new, backup)
            await_condition(partial(renewed, trio, new), WITHIN_S, f"{backup} has caught up")
        make_fault(trio.lab, "crash-host", third)
        trio.lab.wait(f"primary={first}", WITHIN_S)
        return [first, second, third, first]

    trio.through(tmp_path, crash_both, Case("paced-down", duration_s=120.0), until_then=True)


def test_a_backup_dies_while_it_catches_up_and_the_spare_begins_anew(trio: Trio, tmp_path: Path) -> None:
    """A server that paces itself is never caught up with, so there it is the middle at any time."""
    primary, backup, spare = trio.roles()

    def catches(node: str) -> None:
        trio.await_pair(primary, node)
        await_condition(lambda: trio.group(primary)["flows"]["catching"] == 1, WITHIN_S, f"{node} catches up")

    with begun(trio.lab, "bulk-down", tmp_path / "down") as down:
        trio.await_pair(primary, backup)
        for lost, following in ((backup, spare), (spare, backup)):
            make_fault(trio.lab, "crash-host", lost)
            if following == backup:
                trio.lab.restart_host(backup)
            catches(following)
        assert trio.protected(primary) == 0 and not down.ended(), "every byte was right, and none was late"


def renewed(trio: Trio, node: str) -> bool:
    """Whether the one connection that there is has its backup again."""
    return trio.protected(node) == 1 and trio.group(node)["flows"]["catching"] == 0


@pytest.mark.parametrize("link", ["peer", "client", "arbiter", "all"])
def test_a_spare_that_is_cut_off_disturbs_nobody(trio: Trio, link: str, tmp_path: Path) -> None:
    primary, backup, spare = trio.roles()
    epoch = trio.group(primary)["epoch"]

    def cut() -> list[str]:
        make_fault(trio.lab, "cut", link, spare)
        if link == "all":
            await_condition(lambda: trio.seen_by(primary)[spare] == "absent", WITHIN_S, "the spare is missed")
        else:
            await_condition(lambda: noticed(trio, primary, spare, link), WITHIN_S, "the cut is noticed")
        return [primary]

    trio.through(tmp_path, cut)
    trio.await_pair(primary, backup)
    assert trio.group(primary)["epoch"] == epoch, "nothing had to be decided"
    make_fault(trio.lab, "heal")
    trio.lab.wait("synced", WITHIN_S)
    assert trio.roles() == (primary, backup, spare)


def noticed(trio: Trio, primary: str, spare: str, link: str) -> bool:
    """Whether what was cut from the spare is told."""
    if link == "arbiter":
        return trio.group(spare)["ownership"]["arbiter"]["reachable"] is False
    shown = trio.lab.ask(primary, {"op": "topology"}, 5)["peers"]
    (links,) = (peer["links"] for peer in shown if peer["name"] == spare)
    return not links[0 if link == "peer" else 1]["heard"]["lab"]


@pytest.mark.parametrize("link", ["client", "all"])
def test_the_primary_is_cut_off(trio: Trio, link: str, tmp_path: Path) -> None:
    primary, backup, spare = trio.roles()

    def cut() -> list[str]:
        make_fault(trio.lab, "cut", link, primary)
        trio.lab.wait(f"primary={backup}", WITHIN_S)
        trio.await_pair(backup, spare if link == "all" else other(trio, backup))
        make_fault(trio.lab, "heal")
        trio.lab.wait("synced", WITHIN_S)
        return [primary, backup]

    trio.through(tmp_path, cut)
    assert trio.lab.node_in_role("primary") == backup, "no fail-back"


def other(trio: Trio, primary: str) -> str:
    """Wait until somebody is in step with this primary; return who."""
    trio.lab.wait("paired", WITHIN_S)
    (name,) = (name for name, role in trio.seen_by(primary).items() if role == "backup")
    return name


@pytest.mark.parametrize("alone", [False, True], ids=["with the arbiter", "without"])
def test_nobody_hears_the_primary_any_more(trio: Trio, alone: bool, tmp_path: Path) -> None:
    """The others hear each other. Whoever wins at the arbiter serves; one that lost it does not."""
    primary, backup, _ = trio.roles()
    winners: list[str] = []

    def part() -> list[str]:
        if alone:
            make_fault(trio.lab, "cut", "arbiter", primary)
        add_rules(trio.lab.host(primary), "deaf", ["input", "output"], f"udp dport {BEATS} drop")
        await_condition(lambda: trio.seen_by(backup)[primary] == "absent", WITHIN_S, "the primary is missed")
        await_condition(lambda: len(who_serves(trio.lab)) == 1, WITHIN_S, "one node serves")
        winners.extend(who_serves(trio.lab))
        trio.lab.host(primary).run(["nft", "delete table inet deaf"])
        make_fault(trio.lab, "heal")
        trio.lab.wait("synced", WITHIN_S)
        return [primary, backup]

    trio.through(tmp_path, part)
    assert winners == ([backup] if alone else winners) and set(winners) <= {primary, backup}
    assert trio.lab.node_in_role("primary") == winners[0], "no change without a cause"


def test_a_frozen_primary_is_replaced_and_comes_back_as_a_spare(trio: Trio, tmp_path: Path) -> None:
    primary, backup, spare = trio.roles()

    def takes_its_place() -> bool:
        return trio.seen_by(backup).get(primary) == "spare"

    def freeze() -> list[str]:
        make_fault(trio.lab, "freeze-node", primary, 3.0)
        trio.await_pair(backup, spare)
        await_condition(takes_its_place, WITHIN_S, f"{primary} is a spare")
        return [primary, backup]

    trio.through(tmp_path, freeze, Case("both", duration_s=5.0), until_then=True)
    trio.lab.wait("synced", WITHIN_S)
    assert trio.lab.node_in_role("primary") == backup, "no fail-back"


def test_a_spare_does_not_serve_for_a_pair_that_is_out_of_sight_and_wears_nothing_out(trio: Trio) -> None:
    primary, backup, spare = trio.roles()
    await_condition(lambda: trio.knows_pair(spare, primary, backup), WITHIN_S, "the spare knows the record")
    before = trio.group(spare)["ownership"]["record"]
    chosen = [*network.cables(primary), *network.cables(backup)]
    chosen.sort(key=lambda cable: cable.link != network.ARBITER_LINK)  # first: nothing more is won there
    network.set_links(trio.lab.host("switch"), chosen, up=False)

    def alone() -> bool:
        roles = trio.seen_by(spare)
        return (roles[primary], roles[backup], roles[spare]) == ("absent", "absent", "starting")

    await_condition(alone, WITHIN_S, "the spare misses both")
    sent = trio.group(spare)["counters"]["beats_sent"]
    await_condition(lambda: trio.group(spare)["counters"]["beats_sent"] > sent + 600, WITHIN_S, "some leases")
    assert who_serves(trio.lab) == [] and trio.group(spare)["ownership"]["record"] == before
    make_fault(trio.lab, "heal")
    trio.lab.wait("synced", WITHIN_S)
    assert trio.lab.node_in_role("primary") in (primary, backup)
    assert trio.group(spare)["ownership"]["record"]["epoch"] <= before["epoch"] + 24, "epochs were worn out"


def test_of_several_spares_the_first_in_line_becomes_backup(tmp_path: Path) -> None:
    for pair in pair_named("five"):
        lab = pair.lab
        # a new owner waits two leases for the first in line: long enough for five nodes on a busy machine
        lab.up(
            (), ("timing.heartbeat_ms=100", "arbiter.lease_ms=4000"), arbiter="witness", nodes=5, wait_s=60
        )
        five = Trio(lab)
        for _ in range(3):  # two of the five are left then
            primary, backup = lab.node_in_role("primary"), lab.node_in_role("backup")
            await_condition(partial(five.all_healthy, backup), WITHIN_S, "every server that is there is up")
            waiting = [node for node in network.ALL_NODES if five.seen_by(primary).get(node) == "spare"]
            make_fault(lab, "crash-host", primary)
            try:
                five.await_pair(backup, waiting[0])
            except LabError as error:
                raise AssertionError(
                    f"{error}: {five.seen_by(backup)}, {five.events(backup)[-40:]}"
                ) from error
        assert (
            lab.exec("client", ["curl", "-sS", "-o", "/dev/null", f"http://{network.SERVICE4}/"]).returncode
            == 0
        )


def test_a_node_that_names_one_other_only_changes_nothing_for_the_rest(trio: Trio, tmp_path: Path) -> None:
    """Two that name each other alone may leave a group to each other: of three none does."""
    primary, backup, spare = trio.roles()
    file = trio.lab.home / spare / "node.toml"
    text = file.read_text()
    entries = text.split("\n[[peer]]\n")
    assert len(entries) == 3
    last = entries[2].partition("\n[[group]]\n")
    (kept,) = (entry for entry in (entries[1], last[0]) if f'name = "{primary}"' in entry)
    shorter = f"{entries[0]}\n[[peer]]\n{kept}{last[1]}{last[2]}"

    def restart() -> list[str]:
        make_fault(trio.lab, "crash-host", spare)
        file.write_text(shorter)
        trio.lab.restart_host(spare)
        await_condition(lambda: trio.seen_by(primary)[spare] == "spare", WITHIN_S, f"{primary} hears it")
        trio.await_pair(primary, backup)
        return [primary]

    try:
        trio.through(tmp_path, restart, Case("both", duration_s=4.0))
        assert set(trio.seen_by(spare)) == {primary, spare}
        assert not [event for event in trio.events(primary) if event["event"] == "intrusion"]
    finally:
        file.write_text(text)
        trio.lab.restart_host(spare)
