"""[arbiter] and the witness's own file: what is refused, and what becomes of what is not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from fttcp.arbiter import open_arbiter
from fttcp.arbiter.base import ArbiterError
from fttcp.arbiter.settings import EtcdSettings, NoneSettings, WitnessSettings
from fttcp.config import ConfigError, load
from fttcp.config.witness import load_witness
from fttcp.node.arbiters import arbiter_settings, examine
from fttcp.wire import keyfile
from tests.unit.test_config import GOOD, errors_of

WITNESS = '[arbiter]\nkind = "witness"\n[arbiter.witness]\naddresses = ["192.0.2.30"]\n'
ETCD = '[arbiter]\nkind = "etcd"\n[arbiter.etcd]\nendpoints = ["https://192.0.2.31:2379"]\n'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            '[arbiter]\nkind = "quorum"',
            "arbiter.kind: 'quorum' is not allowed (allowed: etcd, none, witness)",
        ),
        ('[arbiter]\nkind = "witness"', "arbiter.witness: missing (required by arbiter.kind = 'witness')"),
        (WITNESS + '[arbiter.etcd]\nendpoints = ["http://a:1"]', "arbiter.etcd: not read while arbiter.kind"),
        (WITNESS.replace('"192.0.2.30"', ""), "arbiter.witness.addresses: 0 entries"),
        (WITNESS.replace("192.0.2.30", "witness.example"), "arbiter.witness.addresses[0]: 'witness.example'"),
        (WITNESS.replace("192.0.2.30", "192.0.2.30:0"), "'192.0.2.30:0' has no valid port"),
        (
            WITNESS.replace("[arbiter]", "[arbiter]\ntimeout_ms = 2000"),
            "arbiter.timeout_ms: 2000 is above a third",
        ),
        (ETCD.replace("https://192.0.2.31:2379", "192.0.2.31"), "arbiter.etcd.endpoints[0]: '192.0.2.31'"),
        (ETCD.replace("https://192.0.2.31:2379", "https://[::1"), "'https://[::1' is not an endpoint"),
        (ETCD.replace("31:2379", "31:99999"), "'https://192.0.2.31:99999' is not an endpoint"),
        (ETCD.replace("31:2379", "31:2379?x"), "is not an endpoint"),
        (
            ETCD.replace('2379"', '2379", "https://192.0.2.31:2379/"'),
            "'https://192.0.2.31:2379/' stands there",
        ),
        (ETCD.replace('2379"', '2379", "http://a:1"'), "http and https mixed"),
        (ETCD.replace("https", "http") + 'ca_file = "/ca"', "arbiter.etcd.ca_file: of no use"),
        (ETCD + 'cert_file = "/c"', "cert_file and key_file: one without the other"),
        (ETCD + 'user = "node"', "user and password_file: one without the other"),
        (ETCD + 'ca_file = "ca.pem"', "arbiter.etcd.ca_file: 'ca.pem' is not an absolute path"),
        (ETCD + 'prefix = "fttcp/"', "arbiter.etcd.prefix: 'fttcp/' is not allowed"),
        (
            ETCD.replace("[arbiter]", "[arbiter]\nlease_ms = 2500"),
            "arbiter.lease_ms: 2500 does not suit etcd",
        ),
        (
            "[group.timing]\nheartbeat_ms = 400\n" + WITNESS,
            "arbiter.lease_ms: 3000 is below twice heartbeat_ms * heartbeat_misses of group[0]",
        ),
        ("[arbiter.none]\nprobe_ms = 2000", "arbiter.none.probe_ms: 2000 is above 1000"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, error: str) -> None:
    assert any(error in found for found in errors_of(tmp_path, GOOD + text)), errors_of(tmp_path, GOOD + text)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(GOOD.replace("/etc/fttcp/key", str(tmp_path / "key")).replace("svc0", "lo") + text)
    if not (tmp_path / "key").exists():
        keyfile.generate(tmp_path / "key")
    return path


def test_each_kind_becomes_the_settings_of_its_backend(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""))
    none = arbiter_settings(lambda: config)
    assert isinstance(none, NoneSettings) and none.probe_ms == 3 and none.carrier()
    assert [str(address) for address in none.services("web")] == ["10.77.0.100", "fd77::100"]
    assert none.services("unknown") == () and config.arbiter.solo_lease_ns == 0

    assert none.references == []
    referred = load(write(tmp_path, '[reference]\naddresses = ["10.77.0.254"]'))
    none = arbiter_settings(lambda: referred)
    assert isinstance(none, NoneSettings) and [str(a) for a in none.references] == ["10.77.0.254"]

    with_witness = load(write(tmp_path, WITNESS))
    witness = arbiter_settings(lambda: with_witness)
    assert isinstance(witness, WitnessSettings) and witness.endpoints == [("192.0.2.30", 7720)]
    assert witness.lease_ns == with_witness.arbiter.solo_lease_ns == 3_000_000_000

    files = [with_witness]
    witness = arbiter_settings(lambda: files[-1])
    assert isinstance(witness, WitnessSettings) and not witness.strict()
    files.append(msgspec.structs.replace(with_witness, peer=2 * with_witness.peer))
    assert witness.strict(), "a reload has brought a third node"

    password = tmp_path / "password"
    password.write_text("quiet\n")
    with_etcd = load(write(tmp_path, ETCD + f'user = "node"\npassword_file = "{password}"\n'))
    with pytest.raises(ArbiterError, match="chmod 600"):
        arbiter_settings(lambda: with_etcd)
    password.chmod(0o600)
    etcd = arbiter_settings(lambda: with_etcd)
    assert isinstance(etcd, EtcdSettings) and etcd.login == ("node", "quiet") and etcd.lease_s == 3


def test_a_silent_arbiter_is_examined_without_an_exception(tmp_path: Path) -> None:
    text = WITNESS.replace("192.0.2.30", "127.0.0.1:9").replace("[arbiter]", "[arbiter]\ntimeout_ms = 50")
    facts = asyncio.run(examine(load(write(tmp_path, text))))
    assert facts["kind"] == "witness" and facts["reachable"] is False and facts["records"] == {}
    (tmp_path / "key").chmod(0o644)
    assert "chmod 600" in asyncio.run(examine(load(write(tmp_path, text))))["error"]
    text = ETCD.replace("https://192.0.2.31:2379", "http://127.0.0.1:9").replace(
        "[arbiter]", "[arbiter]\ntimeout_ms = 100"
    )
    facts = asyncio.run(examine(load(write(tmp_path, text))))
    assert facts["reachable"] is False and "127.0.0.1:9" in facts["last_error"]


def test_the_watch_tells_when_the_arbiter_is_lost(tmp_path: Path) -> None:
    text = WITNESS.replace("192.0.2.30", "127.0.0.1:9").replace("[arbiter]", "[arbiter]\ntimeout_ms = 30")
    config = load(write(tmp_path, text))

    async def story() -> None:
        told: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        arbiter = await open_arbiter(arbiter_settings(lambda: config), lambda *news: told.set_result(news))
        reachable, why = await asyncio.wait_for(told, 20)
        assert not reachable and "no answer from the witness within 30 ms" in why
        await arbiter.close()

    asyncio.run(story())


def test_every_error_of_a_witness_file_comes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "witness.toml"
    path.write_text(
        'listen = ["x", "[::1]:70000"]\n[[cluster]]\nname = "a"\nkey_file = "k"\n'
        '[[cluster]]\nname = "a"\nkey_file = "k"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_witness(path)
    errors = "\n".join(caught.value.errors)
    assert "listen[0]: 'x' has no IP address" in errors and "listen[1]: '[::1]:70000' has no valid" in errors
    assert "cluster[1].name: 'a' is the name of cluster[0] as well" in errors
    path.write_text('listen = ["127.0.0.1", "[::1]:7", "::1"]\n[[cluster]]\nname = "a"\nkey_file = "/k"\n')
    assert load_witness(path).endpoints == [("127.0.0.1", 7720), ("::1", 7), ("::1", 7720)]
    path.write_text("lease = 3\n")
    with pytest.raises(ConfigError, match="did you mean lease_ms"):
        load_witness(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_witness(tmp_path / "none.toml")
