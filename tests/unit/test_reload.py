"""What a changed configuration means for a running node."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.config import Config, load
from fttcp.node.reload import Change, compare
from fttcp.ownership.terms import BINDING, Term
from tests.unit.test_config import GOOD

MAIL = """
[[group]]
name = "mail"
addresses = ["10.77.0.101"]
ports = ["25/tcp"]
command = "postfix start-fg"
channel_port = 7730
queue = 7740
"""


def config(tmp_path: Path, text: str) -> Config:
    (tmp_path / "node.toml").write_text(text)
    return load(tmp_path / "node.toml")


def test_no_change_is_an_empty_plan(tmp_path: Path) -> None:
    assert compare(config(tmp_path, GOOD), config(tmp_path, GOOD)).empty


@pytest.mark.parametrize(
    ("old", "new", "key", "live"),
    [
        ("[peer]", 'log_level = "debug"\n[peer]', "node.log_level", True),
        ("[peer]", "http = { port = 9000 }\n[peer]", "node.http.port", True),
        ("[peer]", 'notify = { fifo = "/run/x" }\n[peer]', "node.notify.fifo", True),
        ("[peer]", 'run_dir = "/run/other"\n[peer]', "node.run_dir", False),
        ('cluster = "lab"', 'cluster = "other"', "node.cluster", False),
        ('"80/tcp"', '"81/tcp"', "group.web.ports", False),
        ("[[group]]", "[[group]]\npriority = 7", "group.web.priority", True),
        ("[[group]]", '[[group]]\ndivergence = "detach"', "group.web.divergence", True),
        ("[[group]]", "[[group]]\ncompare = false", "group.web.compare", False),
        ("[[group]]", '[[group]]\nmd5 = [{ peer = "::1", key_file = "/k" }]', "group.web.md5[0]", True),
        *(
            ("[[group]]", f"[[group]]\n{table} = {{ {name} = {value} }}", f"group.web.{table}.{name}", live)
            for table, name, value, live in (
                ("timing", "detach_after_ms", 77, True),
                ("timing", "startup_wait_ms", 7777, True),
                ("timing", "announce_refresh_s", 7, True),
                ("timing", "detector", '"phi"', True),
                ("timing", "heartbeat_ms", 30, False),
                ("limits", "max_held", 77, True),
                ("limits", "max_flows", 77, False),
                ("restart", "limit", 7, True),
                ("hooks", "on_takeover", '"true"', True),
            )
        ),
        ('remote = "10.78.0.2"', 'remote = "10.78.0.3"', "peer.beta.link[0].remote", False),
    ],
)
def test_each_key_is_live_or_needs_a_restart(
    tmp_path: Path, old: str, new: str, key: str, live: bool
) -> None:
    plan = compare(config(tmp_path, GOOD), config(tmp_path, GOOD.replace(old, new, 1)))
    assert [change.key for change in (plan.live if live else plan.restart)] == [key]
    assert not (plan.restart if live else plan.live) and not plan.added and not plan.removed


def test_groups_come_and_go(tmp_path: Path) -> None:
    one, two = config(tmp_path, GOOD), config(tmp_path, GOOD + MAIL)
    plan = compare(one, two)
    assert (plan.added, plan.removed, plan.live, plan.restart) == (("mail",), (), (), ())
    assert compare(two, one).removed == ("mail",)


def test_every_key_that_needs_a_restart_says_what_to_do(tmp_path: Path) -> None:
    text = GOOD.replace('cluster = "lab"', 'cluster = "other"').replace('"80/tcp"', '"81/tcp"')
    text = text.replace("[[group]]", "[[group]]\ncompare = false", 1)
    changes = compare(config(tmp_path, GOOD), config(tmp_path, text)).restart
    advice = {change.key: change.advice for change in changes}
    assert "all nodes" in advice["node.cluster"] and "all nodes" in advice["group.web.ports"]
    assert advice["group.web.compare"].startswith("restart the daemon, the backup's first")


@pytest.mark.parametrize("term", sorted(BINDING - {Term.ARBITER, Term.TIMING}))
def test_what_keeps_a_pair_apart_is_to_be_changed_on_all_nodes(term: Term) -> None:
    assert "all nodes" in Change(("group", "web", term.key), None, None).advice


PROBE = '[[group.health.probe]]\ntype = "tcp"\n'


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (GOOD, GOOD + PROBE, ["group.web.health.probe[0]: added"]),
        (GOOD + 2 * PROBE, GOOD + PROBE, ["group.web.health.probe[1]: removed"]),
        (GOOD + PROBE, GOOD + PROBE + "rise = 5\n", ["group.web.health.probe[0].rise: 2 -> 5"]),
        (GOOD, GOOD + '[group.hooks]\non_takeover = "a \\"b\\""\n',
         ['group.web.hooks.on_takeover: not set -> "a \\"b\\""']),
        (GOOD, GOOD + "compare = false\n", ["group.web.compare: true -> false"]),
        (GOOD, GOOD.replace('"80/tcp"', '"81/tcp"'),
         ['group.web.ports: ["80/tcp", "69/udp"] -> ["81/tcp", "69/udp"]']),
        (GOOD, GOOD + '[reference]\naddresses = ["10.0.0.1"]\nmethod = "neighbour"\n',
         ['reference.addresses: not set -> ["10.0.0.1"]', "reference.fall: not set -> 4",
          "reference.interval_ms: not set -> 500", 'reference.method: not set -> "neighbour"',
          "reference.rise: not set -> 3", "reference.timeout_ms: not set -> 400"]),
    ],
)  # fmt: skip
def test_a_change_is_told_in_the_words_of_the_file(
    tmp_path: Path, before: str, after: str, lines: list[str]
) -> None:
    plan = compare(config(tmp_path, before), config(tmp_path, after))
    assert [str(change) for change in (*plan.live, *plan.restart)] == lines
