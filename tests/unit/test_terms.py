"""What nodes should have alike: told, compared, shown, and what a difference forbids."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import pytest

from fttcp.config import Config, load
from fttcp.group import terms as terms_module
from fttcp.group.secrets import Secrets
from fttcp.group.terms import terms
from fttcp.ownership import events as ev
from fttcp.ownership.model import Mode, Phase, Role, Unfit
from fttcp.ownership.terms import BINDING, MOST, Term, differing
from fttcp.planes.fake import FakeEngine
from fttcp.wire import body as codec
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KeyRing
from tests.groups import run
from tests.health import until
from tests.unit.test_config import GOOD
from tests.unit.test_pair import SETTINGS, Driver
from tests.unit.test_wire import BODY

SAME = tuple(range(1, len(Term) + 1))
SECRETS = Secrets(KeyRing((bytes(32),)))
WITNESS = '\n[arbiter]\nkind = "witness"\nwitness = { addresses = ["10.77.0.9:7750"] }\n'


def other(*changed: Term) -> tuple[int, ...]:
    return tuple(digest + 100 * (Term(at) in changed) for at, digest in enumerate(SAME))


def config(tmp_path: Path, old: str = "", new: str = "", more: str = "") -> Config:
    assert old in GOOD
    (tmp_path / "node.toml").write_text(GOOD.replace(old, new, 1) + more)
    return load(tmp_path / "node.toml")


def digests(config: Config) -> tuple[int, ...]:
    return terms(config, config.group[0], SECRETS)


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('"80/tcp"', '"81/tcp"', {Term.PORTS}),
        ('"10.77.0.100", ', '"10.77.0.101", ', {Term.ADDRESSES}),
        ("[[group]]", '[[group]]\nstate = "memory"', {Term.STATE}),
        ("[[group]]", "[[group]]\nworkers = 2", {Term.WORKERS}),
        (', "69/udp"]', ']\norder = "service"', {Term.PORTS, Term.ORDER}),
        ("[[group]]", "[[group]]\ncompare = false", {Term.COMPARE}),
        ("[[group]]", '[[group]]\ndivergence = "detach"', {Term.DIVERGENCE}),
        ("[[group]]", '[[group]]\nunverified = "continue"', {Term.UNVERIFIED}),
        ("[[group]]", "[[group]]\ntiming = { drift_ppm = 7 }", {Term.TIMING}),
        ("[[group]]", '[[group]]\nlockstep = "connection"', {Term.LOCKSTEP}),
        ("[[group]]", '[[group]]\nrenew = "none"', set()),
        ("[[group]]", '[[group]]\nmac = "virtual"', {Term.MAC}),
        ("[[group]]", "[[group]]\npriority = 7", set()),
        ("[peer]", "encrypt = true\n[peer]", {Term.ENCRYPT}),
        ("[peer]", 'run_dir = "/run/other"\n[peer]', set()),
    ],
)
def test_each_setting_has_its_digest(tmp_path: Path, old: str, new: str, wanted: set[Term]) -> None:
    assert differing(digests(config(tmp_path)), digests(config(tmp_path, old, new))) == wanted


def test_no_arbiter_is_the_largest_digest_and_addresses_of_one_are_not_compared_with_it(
    tmp_path: Path,
) -> None:
    none, one = digests(config(tmp_path)), digests(config(tmp_path, more=WITNESS))
    elsewhere = digests(config(tmp_path, more=WITNESS.replace("10.77.0.9", "10.88.0.9")))
    assert none[Term.ARBITER] == MOST > one[Term.ARBITER]
    assert differing(one, elsewhere) == {Term.ARBITER_PLACES} and Term.ARBITER_PLACES not in BINDING


def test_the_kernel_s_settings_are_looked_at_each_time(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(terms_module, "_SYSCTLS", tmp_path)
    (tmp_path / "tcp_sack").write_text("1\n")
    (tmp_path / "tcp_timestamps").write_text("1\n")
    before = digests(config(tmp_path))
    (tmp_path / "tcp_timestamps").write_text("2\n")  # clients see no difference
    assert differing(before, digests(config(tmp_path))) == set()
    (tmp_path / "tcp_sack").write_text("0\n")
    changed = differing(before, digests(config(tmp_path)))
    assert changed == {Term.SACK} and Term.SACK.key == "net.ipv4.tcp_sack"


def test_heartbeats_carry_them_and_a_row_of_another_form_is_refused() -> None:
    told = BODY._replace(terms=SAME, group="g" * 64, name="n" * 64, partner="p" * 64)
    data = codec.encode(told, codec.Aside(("ab" * 4,) * 4, bytes(6), bytes(6), 2**48))
    assert codec.decode(data) == told and len(data) <= codec.MAX_BYTES
    for wrong in (b"1234", "abc", b"x" * 3 * 33, None):
        with pytest.raises(WireError, match=r"body\.ts"):
            codec.decode(msgpack.packb(msgpack.unpackb(data) | {"ts": wrong}))
    newer = codec.decode(msgpack.packb(msgpack.unpackb(data) | {"ts": b"\7" * 3 * (len(Term) + 1)}))
    assert len(newer.terms) == len(Term) + 1 and len(differing(SAME, newer.terms)) == len(Term)


@pytest.mark.parametrize("term", sorted(Term))
def test_a_pair_forms_unless_that_breaks_a_promise(term: Term) -> None:
    driver = Driver(replace(SETTINGS, terms=SAME))
    driver.wait(SETTINGS.startup_wait_ns)
    driver.hear(terms=other(term))
    assert (driver.machine.phase is Phase.SOLO) == (term in BINDING)
    assert driver.machine.differs(driver.machine.view.peers[0]) == {term}
    if term in BINDING:
        assert driver.machine.unfit(driver.machine.view.peers[0]) is Unfit.DIFFERS
        driver.wait(SETTINGS.startup_wait_ns)
        driver.hear(terms=SAME)
    assert driver.machine.phase is Phase.PAIRING


@pytest.mark.parametrize("term", sorted(BINDING))
def test_a_node_that_waits_follows_no_owner_that_differs(term: Term) -> None:
    driver = Driver(replace(SETTINGS, terms=SAME))
    offer = {"role": Role.PRIMARY, "mode": Mode.PAIRING, "epoch": 2, "session": 99}
    driver.hear(terms=other(term), **offer)
    driver.wait(SETTINGS.settle_ns)
    assert driver.machine.phase is Phase.JOINING
    driver.hear(terms=SAME, **offer)
    assert driver.machine.phase is Phase.FOLLOWING


def test_who_waits_beside_another_arbiter_takes_nothing_but_what_is_left_to_it() -> None:
    driver = Driver(replace(SETTINGS, terms=SAME))
    owner = {"role": Role.PRIMARY, "mode": Mode.SOLO, "epoch": 2, "terms": other(Term.ARBITER)}
    driver.hear(**owner)
    driver.lose()
    driver.wait(10 * SETTINGS.startup_wait_ns)
    assert driver.machine.phase is Phase.LISTENING and driver.machine.contested
    driver.hear(**owner | {"mode": Mode.HANDOVER, "offer": 5, "offered_to": SETTINGS.boot_id})
    assert driver.machine.phase is Phase.SOLO


def test_both_nodes_tell_a_difference_and_when_it_is_over() -> None:
    async def test(alpha: Any, alpha_engine: FakeEngine, beta: Any, beta_engine: FakeEngine) -> None:
        def told(group: Any) -> list[str]:
            events = group._history.since(0)
            return [e["event"] for e in events if e.get("reason") in ("settings", "settings-told")]

        for group in (alpha, beta):
            group.agree_on(SAME)
        alpha.agree_on(other(Term.ORDER))
        for group in (alpha, beta):
            await until(lambda group=group: told(group) == ["not-ready"])
            state = group.status()
            assert list(state["differs"].values()) == [["order"]]
            (reason,) = state["not_ready"]
            assert "order" in reason["what"] and state["synced"]
        assert alpha.status()["ready"] and not beta.status()["ready"]
        beta.agree_on(other(Term.ORDER))
        for group in (alpha, beta):
            await until(lambda group=group: told(group) == ["not-ready", "ready-again"])
            assert group.status()["differs"] == {} and group.status()["ready"]

    run(test)


def test_what_may_change_live_keeps_the_rest() -> None:
    driver = Driver(replace(SETTINGS, terms=SAME))
    driver.step(ev.Reconfigured(7, 9, 11, other(Term.ORDER)))
    settings = driver.machine.settings
    assert (settings.priority, settings.startup_wait_ns, settings.terms) == (7, 9, other(Term.ORDER))
