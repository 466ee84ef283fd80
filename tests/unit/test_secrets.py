"""Keys of a node are those that it has read; what happens to their files meanwhile is another matter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fttcp.config import Config, load
from fttcp.face.control import RequestError
from fttcp.group.secrets import Secrets
from fttcp.group.terms import terms
from fttcp.node.arbiters import arbiter_settings
from fttcp.node.assembly import NodeError
from fttcp.node.housekeeping import Housekeeper
from fttcp.node.members import MembersKeeper
from fttcp.node.node import Node
from fttcp.node.roster import Roster
from fttcp.ownership.terms import UNTOLD, Term, differing
from fttcp.planes.base import PeerKey
from fttcp.report.events import History
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KeyRing
from tests.unit.test_config import GOOD
from tests.unit.test_reload import MAIL

OTHER = MAIL.replace("mail", "news").replace("25/tcp", "119/tcp").replace("101", "102").replace("77", "78")
A, B = b"a" * 32, b"b" * 32
STAGES = (KeyRing((A,)), KeyRing((A, B)), KeyRing((A, B), 1), KeyRing((B,)))


def config_in(directory: Path) -> Config:
    """A node's configuration, with both its keys."""
    directory.mkdir(exist_ok=True)
    keyfile.generate(directory / "pair")
    (directory / "peer").touch(0o600)
    (directory / "peer").write_text("first\n")
    text = GOOD.replace("/etc/fttcp/key", f"{directory}/pair").replace(
        "[[group]]", f'[[group]]\nmd5 = [{{ peer = "10.0.0.1", key_file = "{directory}/peer" }}]', 1
    )
    (directory / "node.toml").write_text(text)
    return load(directory / "node.toml")


class Group:
    """Takes what a group is told."""

    def __init__(self, name: str, steps: list[str]) -> None:
        self._name, self._steps, self.server = name, steps, None
        self.machine = SimpleNamespace(mirrored=0)
        self.terms: list[tuple[int, ...]] = []
        self.md5: list[tuple[PeerKey, ...]] = []

    def configure(self, core: Any, engine: Any, learning: bool) -> None:
        self._steps.append(f"configure {self._name}")
        self.terms.append(core.terms)
        self.md5.append(engine.md5)

    def agree_on(self, told: tuple[int, ...]) -> None:
        self.terms.append(told)

    def learn(self) -> None:
        """What the engine knows."""

    def set_keys(self, keys: KeyRing) -> None:
        self._steps.append(f"keys {keys.ids()[keys.send]}")


class Daemon:
    """A node whose groups run nothing."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fttcp.node.node.load_to_run", load)
        self.steps: list[str] = []
        self.fails = ""
        node: Any = Node.__new__(Node)
        self.node, config = node, config_in(directory)
        node._config, node._file, node._history = config, directory / "node.toml", History("alpha")
        node._secrets, node._changing = Secrets.read(config), asyncio.Lock()
        self.web = Group("web", self.steps)
        node._groups = {"web": self.web}
        node._frontend = SimpleNamespace(change=self._no_more, reloading=bool, ready=bool)
        node._network = SimpleNamespace(change=self._no_more)
        node._liveness, node._arbiter_settings = SimpleNamespace(set_keys=lambda keys: None), None
        node._roster = Roster(config, node._groups)
        node._members = MembersKeeper(config, node._groups, node._history)
        node._join, node._leave = self._join, self._leave
        node._room = SimpleNamespace(forget=lambda: None)
        self._house = node._house = Housekeeper(
            lambda: node._config,
            lambda: node._secrets,
            node._network,
            node._groups,
            node._history,
            node._changing,
            lambda name: None,
        )

    async def _no_more(self, _: object) -> None:
        """Nothing is there to be changed."""

    async def _join(self, config: Config, section: Any, secrets: Secrets) -> None:
        if section.name == self.fails:
            raise NodeError("no engine")
        self.steps.append(f"join {section.name}")
        self.node._groups[section.name] = Group(section.name, self.steps)

    async def _leave(self, name: str) -> None:
        self.steps.append(f"leave {name}")
        del self.node._groups[name]

    def reload(self) -> dict[str, Any]:
        return asyncio.run(self.node.reload())

    def look(self) -> tuple[int, ...]:
        """Return what its round tells the other nodes."""
        asyncio.run(self._house._learn("web"))
        return self.web.terms[-1]

    def events(self) -> list[str]:
        return [event["event"] for event in self.node._history.since(0)]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: path.chmod(0o644), "chmod 600 {}"),
        (Path.unlink, "{}: no key file; put the key"),
        (lambda path: path.write_text("two\nlines\n"), "{}: expected one line"),
    ],
)
def test_a_reload_without_a_key_is_refused_before_anything_changes(
    spoil: Callable[[Path], None], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(tmp_path, monkeypatch)
    file, before = tmp_path / "peer", daemon.look()
    (tmp_path / "node.toml").write_text((tmp_path / "node.toml").read_text() + MAIL)
    spoil(file)
    with pytest.raises(RequestError, match="nothing was changed") as refused:
        daemon.reload()
    assert why.format(file) in str(refused.value) and refused.value.reason == "impossible"
    assert daemon.steps == [] and daemon.events() == ["reload-refused"]
    assert daemon.look() == before, "the key in use is what is told of"


def test_a_witnesss_key_is_read_before_the_nodes_own_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(tmp_path, monkeypatch)
    keyfile.generate(tmp_path / "witness")
    with (tmp_path / "node.toml").open("a") as file:
        file.write(f'[arbiter]\nkind = "witness"\n[arbiter.witness]\nkey_file = "{tmp_path}/witness"\n')
        file.write('addresses = ["10.77.0.9:7750"]\n')
    daemon.node._config = load(tmp_path / "node.toml")
    daemon.node._arbiter_settings = arbiter_settings(lambda: daemon.node._config)
    new = keyfile.add(tmp_path / "pair")
    (tmp_path / "witness").chmod(0o644)
    with pytest.raises(RequestError, match=f"chmod 600 {tmp_path}/witness; nothing was changed"):
        daemon.reload()
    assert daemon.steps == [] and daemon.events() == ["reload-refused"]
    (tmp_path / "witness").chmod(0o600)
    added = keyfile.add(tmp_path / "witness")
    daemon.reload()
    known = bytes.fromhex(added.ids()[1])
    assert daemon.node._secrets.keys == new and daemon.node._arbiter_settings.keys.find(known)


def test_what_fails_later_is_undone_with_the_keys_in_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group that was added goes before those that stay are as they were."""
    daemon = Daemon(tmp_path, monkeypatch)
    before = daemon.look()
    (tmp_path / "node.toml").write_text((tmp_path / "node.toml").read_text() + MAIL + OTHER)
    (tmp_path / "peer").write_text("second\n")
    daemon.fails = "news"
    with pytest.raises(RequestError, match="no engine; everything is as before"):
        daemon.reload()
    assert daemon.steps == ["join mail", "leave mail", "configure web"]
    assert [entry.key for entry in daemon.web.md5[-1]] == [b"first"]
    assert daemon.web.terms[-1] == daemon.look() == before and daemon.events() == ["reload-refused"]
    daemon.fails = ""
    assert daemon.reload()["added"] == ["mail", "news"]
    assert [entry.key for entry in daemon.web.md5[-1]] == [b"second"]


def test_nodes_compare_the_keys_in_use_and_not_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alpha = Daemon(tmp_path / "alpha", monkeypatch)
    beta = Daemon(tmp_path / "beta", monkeypatch)
    (tmp_path / "beta/pair").write_bytes((tmp_path / "alpha/pair").read_bytes())
    beta.reload()
    assert differing(alpha.look(), beta.look()) == set()
    (tmp_path / "alpha/peer").write_text("second\n")
    assert differing(alpha.look(), beta.look()) == set(), "no reload has read it"
    (tmp_path / "beta/peer").write_text("second\n")
    alpha.reload()
    assert differing(alpha.look(), beta.look()) == {Term.MD5}, "beta still signs with the first one"
    (tmp_path / "beta/peer").unlink()
    assert differing(alpha.look(), beta.look()) == {Term.MD5}
    with pytest.raises(RequestError):
        beta.reload()
    (tmp_path / "beta/peer").touch(0o600)
    (tmp_path / "beta/peer").write_text("second\n")
    beta.reload()
    assert differing(alpha.look(), beta.look()) == set()


def test_what_is_told_of_keys_needs_the_clusters_key(tmp_path: Path) -> None:
    """Who hears heartbeats cannot try passwords. Groups with the same ones are not told apart by it."""
    config = config_in(tmp_path)
    file = {config.group[0].md5[0].key_file: b"first"}
    rings = (KeyRing((A,)), KeyRing((B,)), KeyRing((A,)))
    told = [terms(config, config.group[0], Secrets(ring, file)) for ring in rings]
    assert differing(told[0], told[1]) == {Term.MD5} and told[0] == told[2]
    (tmp_path / "node.toml").write_text((tmp_path / "node.toml").read_text().replace('"web"', '"www"'))
    other = load(tmp_path / "node.toml")
    assert differing(told[0], terms(other, other.group[0], Secrets(KeyRing((A,)), file))) == {Term.MD5}


@pytest.mark.parametrize("at", range(len(STAGES)))
def test_an_exchange_of_the_clusters_keys_is_no_difference(at: int, tmp_path: Path) -> None:
    """A stage is over on every node before the next one begins; with one key peers' keys are compared."""
    config = config_in(tmp_path)

    def told(ring: KeyRing, password: bytes = b"first") -> tuple[int, ...]:
        return terms(config, config.group[0], Secrets(ring, {config.group[0].md5[0].key_file: password}))

    for beside in STAGES[max(at - 1, 0) : at + 2]:
        assert differing(told(STAGES[at]), told(beside)) == set()
    at_rest = len(STAGES[at].keys) == 1
    assert differing(told(STAGES[at]), told(STAGES[at], b"second")) == ({Term.MD5} if at_rest else set())
    assert (told(STAGES[at])[Term.MD5] == UNTOLD) is not at_rest


def test_keys_are_not_shown(tmp_path: Path) -> None:
    secrets = Secrets.read(config_in(tmp_path))
    assert "first" not in repr(secrets) and secrets.keys.sending.hex() not in repr(secrets)
    (tmp_path / "pair").unlink()
    with pytest.raises(WireError, match="fttcp keygen"):
        Secrets.read(load(tmp_path / "node.toml"))
