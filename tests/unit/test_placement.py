"""Where groups are to be: the rules one by one, what is said about it, and `fttcp plan`."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fttcp.cli.checks import Status
from fttcp.cli.doctor import check_capacity
from fttcp.cli.main import main
from fttcp.cli.plan import _as_told
from fttcp.cluster.changes import Change, Role, Why, settle, shortages, with_host
from fttcp.cluster.placement import Group, Host, Place, assign
from fttcp.config import Config, load
from fttcp.config.placement import groups_of, hosts_of, shortages_of
from fttcp.face.frontend import Frontend
from fttcp.group.group import GroupRuntime
from fttcp.node.assembly import core_settings
from tests.tool import Tool, failure, scene
from tests.unit.test_config import GOOD, errors_of
from tests.unit.test_terms import SECRETS

ALPHA, BETA, GAMMA = Host("alpha", 2), Host("beta", 2), Host("gamma", 2)
WEB = Group("web", ("alpha", "beta", "gamma"), importance=5)
MAIL = Group("mail", ("beta", "alpha", "gamma"), importance=3)


def test_two_hosts_are_each_others_backup() -> None:
    assert assign([WEB, MAIL], [ALPHA, BETA]) == {
        "web": Place("alpha", "beta"), "mail": Place("beta", "alpha")
    }  # fmt: skip


def test_whoever_serves_stays_though_another_host_is_preferred() -> None:
    sits = replace(WEB, primary="gamma", backup="beta")
    assert assign([sits], [ALPHA, BETA, GAMMA])["web"] == Place("gamma", "beta")


def test_a_backup_in_step_comes_before_the_preference() -> None:
    lost = replace(WEB, primary="beta", backup="gamma")
    hosts = [ALPHA, replace(BETA, alive=False), GAMMA]
    assert assign([lost], hosts)["web"] == Place("gamma", "alpha")


def test_a_primary_comes_before_any_backup() -> None:
    low = replace(MAIL, prefer=("alpha", "beta"), units=2, backup_units=2)
    assert assign([replace(WEB, units=2, backup_units=2), low], [ALPHA, BETA]) == {
        "web": Place("alpha"), "mail": Place("beta")
    }  # fmt: skip


def test_the_least_important_is_shed_and_returns() -> None:
    hosts = [replace(ALPHA, capacity=1), replace(BETA, capacity=1)]
    groups, _ = settle([WEB, MAIL], hosts)
    assert {group.name: group.primary for group in groups} == {"web": "alpha", "mail": "beta"}
    groups, changes = settle(groups, with_host(hosts, "alpha", False))
    assert changes == (
        Change("web", Role.PRIMARY, "alpha", "beta", Why.STARTED_ANEW),
        Change("mail", Role.PRIMARY, "beta", "", Why.NO_ROOM),
    )
    groups, changes = settle(groups, hosts)
    assert changes == (Change("mail", Role.PRIMARY, "", "alpha", Why.ROOM),)


def test_a_group_without_host_turns_nobody_out_if_another_host_has_room() -> None:
    hosts = [replace(host, capacity=1) for host in (ALPHA, BETA, GAMMA)]
    sits = replace(MAIL, primary="alpha", backup="")
    assert assign([sits, WEB], hosts) == {"web": Place("beta", "gamma"), "mail": Place("alpha")}
    # nor a backup
    hosts = [replace(ALPHA, capacity=0), *hosts[1:], Host("delta", 1)]
    pair = Group("pair", ("gamma", "beta"), primary="gamma", backup="beta")
    single = replace(WEB, prefer=("beta", "delta"), importance=0)
    assert assign([pair, single], hosts) == {"pair": Place("gamma", "beta"), "web": Place("delta")}
    assert assign([pair, single], hosts[:-1]) == {"pair": Place("gamma"), "web": Place("beta")}


def test_a_cold_backup_takes_no_units_and_is_where_it_could_serve() -> None:
    """What counts less would leave for it; what counts more would not."""
    cold = replace(MAIL, units=2, backup_units=0)
    for importance, backup in ((1, "alpha"), (5, "")):
        other = replace(WEB, prefer=("alpha",), importance=importance)
        found = assign([other, cold], [ALPHA, BETA])
        assert found == {"web": Place("alpha"), "mail": Place("beta", backup)}


def test_a_backup_stays_though_a_more_important_group_lacks_one() -> None:
    hosts = [replace(host, capacity=1) for host in (ALPHA, BETA, GAMMA)]
    sits = replace(MAIL, primary="beta", backup="gamma")
    assert assign([replace(WEB, primary="alpha"), sits], hosts) == {
        "web": Place("alpha"), "mail": Place("beta", "gamma")
    }  # fmt: skip


def test_of_equal_importance_the_name_decides() -> None:
    one, other = (replace(WEB, name=name, prefer=("alpha",), units=2) for name in ("b", "a"))
    assert assign([one, other], [ALPHA]) == {"a": Place("alpha"), "b": Place()}


def test_what_the_hosts_do_not_suffice_for_is_told() -> None:
    assert list(shortages([WEB, MAIL], [ALPHA, BETA])) == []  # a last host has no backup: no want of units
    told = list(map(str, shortages([replace(WEB, units=2), MAIL], [ALPHA, BETA])))
    assert told == ["with all hosts: no backup for mail", "without alpha: no primary for mail",
                    "without beta: no primary for mail"]  # fmt: skip


# ---------------------------------------------------------------------- the file


def placed(text: str = "", group: str = "", capacities: tuple[int, int] | None = None) -> str:
    """A file with one group, `prefer` reversed to what names say, and perhaps capacities."""
    text = text or GOOD
    if capacities:
        text = text.replace("[peer]", f"capacity = {capacities[0]}\n[peer]\ncapacity = {capacities[1]}")
    return text.replace("[[group]]", f"[[group]]\n{group or PREFER}")


PREFER = 'prefer = ["beta", "alpha"]'


def config(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return load(path)


def test_the_first_in_prefer_starts_as_primary(tmp_path: Path) -> None:
    read = config(tmp_path, placed())
    assert core_settings(read, read.group[0], SECRETS).priority == 1
    assert read.group[0].priority_of("beta") == 2 and read.group[0].priority_of("gamma") == 0
    read = config(tmp_path, GOOD)
    assert core_settings(read, read.group[0], SECRETS).priority == read.group[0].priority == 100


def test_hosts_and_groups_of_a_file(tmp_path: Path) -> None:
    read = config(tmp_path, placed(group=PREFER + "\nunits = 3\nimportance = 7", capacities=(5, 4)))
    assert hosts_of(read) == (Host("alpha", 5), Host("beta", 4))
    assert groups_of(read) == (Group("web", ("beta", "alpha"), 7, 3, 3),)
    cold = config(tmp_path, placed(group=PREFER + '\nstandby = "cold"').replace(', "69/udp"', ""))
    assert groups_of(cold)[0].backup_units == 0
    assert groups_of(config(tmp_path, placed(group="units = 1")), {"web": ["beta"]})[0].prefer == (
        "beta",
        "alpha",
    )


@pytest.mark.parametrize(
    ("group", "complaint"),
    [
        ('prefer = ["alpha", "gamma"]',
         "group[0].prefer[1]: 'gamma' is none of the nodes (allowed: alpha, beta)"),
        ('prefer = ["beta", "beta"]', "group[0].prefer[1]: 'beta' stands there twice: remove one"),
        (PREFER + "\npriority = 7", "group[0].priority: group[0].prefer is used in its place: remove one"),
        ("units = -1", "group[0].units: -1 is below 0 (allowed: 0..1000000)"),
    ],
)  # fmt: skip
def test_a_wrong_placement_is_refused(tmp_path: Path, group: str, complaint: str) -> None:
    assert errors_of(tmp_path, placed(group=group)) == [complaint]


def test_the_doctor_tells_when_units_do_not_suffice(tmp_path: Path) -> None:
    def found(text: str) -> list[tuple[Status, str]]:
        read = config(tmp_path, text)
        return [(one.status, one.seen) for one in check_capacity(shortages_of(read), hosts_of(read))]

    assert found(placed()) == []  # without bounds there is nothing to tell
    assert found(placed(capacities=(1, 1)))[0][0] is Status.OK
    assert found(placed(capacities=(0, 1))) == [
        (Status.WARN, "with all hosts: no backup for web"), (Status.WARN, "without beta: no primary for web")
    ]  # fmt: skip


# ---------------------------------------------------------------------- `fttcp plan`


def plan(tmp_path: Path, text: str, *words: str) -> Result:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return CliRunner().invoke(
        main, ["plan", "--config", str(path), "--socket", str(tmp_path / "none.sock"), *words]
    )


def test_a_plan_without_a_daemon(tmp_path: Path) -> None:
    done = plan(tmp_path, placed(capacities=(5, 1)), "--without", "beta", "--with", "beta")
    assert done.exit_code == 0, done.output
    lines = [re.sub(" +", " ", line.strip()) for line in done.output.splitlines()]
    assert lines[0] == "No daemon runs here: this is what the configuration says."
    assert lines[lines.index("All hosts start:") + 2] == "web 0 1 backup primary"
    lost = lines.index("beta is lost:")
    assert lines[lost + 1] == "web: primary beta -> alpha: its backup takes over, and connections go on"
    assert lines[lost + 2] == "web: backup alpha -> none: no other host is there"
    assert lines[lost + 4 : lost + 6] == ["web 0 1 primary lost no backup", "units used 1 of 5 0 of 1"]
    back = lines.index("beta returns:")
    assert lines[back + 1] == "web: backup none -> beta: there are units for it"
    assert not any("node.toml" in line for line in lines)  # nothing to be done by hand


def test_a_plan_tells_programs(tmp_path: Path) -> None:
    done = plan(tmp_path, placed(capacities=(0, 1)), "--without", "beta", "--json")
    told = json.loads(done.output)
    assert told["from"] == "configuration" and [step["event"] for step in told["steps"]] == ["start", "lost"]
    last = told["steps"][-1]
    assert last["host"] == "beta" and last["shed"] == ["web"]
    assert last["changes"] == [
        {"group": "web", "role": "primary", "before": "beta", "after": "", "why": "no_room"}
    ]
    assert last["hosts"][0] == {"name": "alpha", "capacity": 0, "alive": True, "used": 0}
    assert "by themselves" in plan(tmp_path, placed(capacities=(0, 1)), "--without", "beta").output


def test_a_plan_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    told = failure(plan(tmp_path, GOOD, "--json"))
    assert told["reason"] == "no-preference" and told["groups"] == ["web"]
    told = failure(plan(tmp_path, placed(), "--json", "--without", "gamma"))
    assert told["reason"] == "usage" and "gamma: no such host in this configuration (it has" in told["error"]


def test_a_plan_begins_with_the_roles_that_the_daemon_knows(tmp_path: Path) -> None:
    async def play(tool: Tool, face: Frontend, alpha: GroupRuntime, beta: GroupRuntime) -> None:
        path = tmp_path / "node.toml"
        path.write_text(GOOD)
        status = json.loads((await tool("status", "--json")).output)
        (group,), hosts = _as_told(load(path), status)
        assert (group.primary, group.backup, group.prefer) == ("alpha", "beta", ("alpha", "beta"))
        assert all(host.alive for host in hosts)
        done = await tool("plan", "--config", str(path), "--without", "alpha")
        assert done.exit_code == 0 and "daemon of alpha knows" in done.output, done.output
        assert "web: primary alpha -> beta: its backup takes over" in done.output
        nodes = [
            {"name": "alpha", "role": "absent", "priority": None},
            {"name": "beta", "role": "primary", "priority": 3},
        ]
        (group,), hosts = _as_told(load(path), {"groups": [{"name": "web", "nodes": nodes}]})
        assert (group.primary, group.backup, group.prefer) == ("beta", "", ("beta", "alpha"))
        assert [host.alive for host in hosts] == [False, True]

    scene(tmp_path, play)
