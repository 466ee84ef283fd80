"""What a file can say and no host can do: refused before anything runs, in words that say what to do."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from fttcp.cli.main import main
from fttcp.config import ConfigError, load, load_to_run
from fttcp.config.words import EVENTS
from fttcp.node.assembly import service_mac
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError
from tests.unit.test_config import GOOD, LINKS, THREE, errors_of

ROOT = Path(__file__).parents[2]
MAIL = """
[[group]]
name = "mail"
addresses = ["10.77.0.101"]
ports = ["25/tcp"]
command = "true"
channel_port = 7730
queue = 7740
"""


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.7", "a loopback address"),
        ("::1", "a loopback address"),
        ("0.0.0.0", "the unspecified address"),
        ("0.0.0.5", "of the network 0.0.0.0/8"),
        ("::", "the unspecified address"),
        ("224.0.0.1", "a multicast address"),
        ("ff15::1", "a multicast address"),
        ("169.254.7.7", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("255.255.255.255", "the broadcast address"),
        ("::ffff:10.77.0.100", "an IPv4 address in IPv6 form: write 10.77.0.100"),
    ],
)
def test_what_is_no_address_of_one_host_is_no_service_link_or_reference(
    tmp_path: Path, address: str, kind: str
) -> None:
    service = errors_of(tmp_path, GOOD.replace("10.77.0.100", address))
    assert any(e.startswith(f"group[0].addresses[0]: '{address}' is {kind}") for e in service), service
    for key, old in (("local", "10.78.0.1"), ("remote", "10.78.0.2"), ("remote_v6", "fd78::2")):
        link = errors_of(tmp_path, GOOD.replace(f'"{old}"', f'"{address}"'))
        assert any(e.startswith(f"link[0].{key}: '{address}' is {kind}") for e in link), link
    reference = errors_of(tmp_path, GOOD + f'[reference]\naddresses = ["{address}"]')
    assert any(e.startswith(f"reference.addresses[0]: '{address}' is {kind}") for e in reference)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"fd77::100"]', '"FD77:0::100", "fd77::100"]', "group[0].addresses[2]: 'fd77::100' is group[0].add"),
        ("10.77.0.100", "10.78.0.1", "link[0].local: '10.78.0.1' is group[0].addresses[0] as well"),
        ("10.77.0.100", "10.78.0.2", "link[0].remote: '10.78.0.2' is group[0].addresses[0] as well"),
        ("fd77::100", "fd78::2", "link[0].remote_v6: 'fd78::2' is group[0].addresses[1] as well"),
        ("[peer]", 'http = { address = "10.77.0.100" }\n[peer]', "node.http.address: '10.77.0.100' is group"),
        ('"80/tcp", ', '"80/tcp", "80/tcp", ', "group[0].ports[1]: '80/tcp' is group[0].ports[0]"),
        ('"80/tcp"', '"080/tcp", "80/tcp"', "group[0].ports[1]: '80/tcp' is group[0].ports[0]"),
        ('"80/tcp"', '"90-80/tcp"', "group[0].ports[0]: '90-80/tcp' ends before it begins (allowed: 80-90/t"),
        ('"80/tcp"', '"80-65536/tcp"', "group[0].ports[0]: '80-65536/tcp' has no valid port"),
        ('"80/tcp"', '"0-9/tcp"', "group[0].ports[0]: '0-9/tcp' has no valid port (allowed: 1..65535)"),
        ('"80/tcp"', '"80-/tcp"', "group[0].ports[0]: '80-/tcp' is not allowed (allowed: a port or a range"),
        ('"80/tcp"', '"80-90/tcp", "85/tcp"', "ports[1]: '85/tcp' overlaps group[0].ports[0] (80-90/tcp)"),
        ('"80/tcp"', '"80/tcp", "1-99/tcp"', "ports[1]: '1-99/tcp' overlaps group[0].ports[0] (80/tcp)"),
        (
            'command = "',
            'opens = ["25/udp"]\ncommand = "',
            "group[0].opens[0]: '25/udp' is not allowed (allowed: ports of TCP",
        ),
        (
            'command = "',
            'opens = ["25/tcp", "20-30/tcp"]\ncommand = "',
            "opens[1]: '20-30/tcp' overlaps group[0].opens[0]",
        ),
        (
            'command = "',
            'opens = ["25/tcp"]\nstandby = "cold"\ncommand = "',
            "standby: 'cold' does not go with group[0].opens",
        ),
        *(
            ('command = "', f'md5 = [{{ peer = "{peer}", key_file = "{file}" }}{more}]\ncommand = "', error)
            for peer, file, more, error in (
                (
                    "10.0.0.1/24",
                    "/k",
                    "",
                    "group[0].md5[0].peer: 10.0.0.1/24 has host bits set (allowed: an addr",
                ),
                (
                    "there",
                    "/k",
                    "",
                    "md5[0].peer: 'there' does not appear to be an IPv4 or IPv6 network (allo",
                ),
                ("10.0.0.1", "k", "", "group[0].md5[0].key_file: 'k' is not a path that begins with /"),
                (
                    "10.0.0.1",
                    "/k",
                    ', { peer = "10.0.0.1/32", key_file = "/k" }',
                    "group[0].md5[1].peer: '10.0.0.1/32' is what md5[0] has, too",
                ),
                (
                    "10.0.0.1",
                    "/k",
                    ', { peer = "::ffff:10.0.0.1", key_file = "/k" }',
                    "group[0].md5[1].peer: '::ffff:10.0.0.1' is what md5[0] has, too",
                ),
                (
                    "10.0.0.1",
                    "/k",
                    ']\nstandby = "cold"\nopens = [',
                    "standby: 'cold' does not go with group[0].md5",
                ),
            )
        ),
        ("69/udp", "7000-7800/udp", "[0].ports[1]: '7000-7800/udp' has ports of fttcp's own, 7710 to 7718"),
        ('"80/tcp"', '"0/tcp"', "group[0].ports[0]: '0/tcp' has no valid port"),
        ("69/udp", "7710/udp", "group[0].ports[1]: '7710/udp' has ports of fttcp's own, 7710 to 7718"),
        ("69/udp", "7718/udp", "group[0].ports[1]: '7718/udp' has ports of fttcp's own, 7710 to 7718"),
        ('"80/tcp"', '"7711/tcp"', "group[0].ports[0]: '7711/tcp' has ports of fttcp's own, 7710 to 7718"),
        ("[peer]", 'http = { address = "::", port = 7711 }\n[peer]', "node.http.port: 7711 is a port"),
        ("[peer]", 'http = { address = "::", port = 80 }\n[peer]', "node.http.port: 80 at all addresses"),
        ("/etc/fttcp/key", "key", "node.key_file: 'key' is not a path that begins with /"),
        ("[peer]", 'run_dir = "run"\n[peer]', "node.run_dir: 'run' is not a path"),
        ("[peer]", 'run_dir = "/a/"\nstate_dir = "/a"\n[peer]', "node.state_dir: '/a' is run_dir as well"),
        (
            "[peer]",
            'notify = { events = ["takover"] }\n[peer]',
            "node.notify.events[0]: 'takover' is no kind of event (did you mean takeover?)",
        ),
        ("[peer]", 'notify = { events = ["role", "role"] }\n[peer]', "events[1]: 'role' stands there twice"),
        (
            "[[group]]",
            '[[link]]\ninterface = "peer0"\nlocal = "10.78.0.1"\nremote = "10.78.0.2"\n[[group]]',
            "link[1]: the same as link[0]",
        ),
        (
            "[[group]]",
            '[[link]]\ninterface = "x"\nlocal = "10.79.0.1"\nremote = "10.78.0.1"\n[[group]]',
            "link[1].remote: '10.78.0.1' is this node's own address (link[0].local)",
        ),
        (
            "[[group]]",
            '[reference]\naddresses = ["10.78.0.1"]\n[[group]]',
            "reference.addresses[0]: '10.78.0.1' is this node's own address",
        ),
        (
            "[[group]]",
            '[reference]\naddresses = ["10.0.0.1", "10.0.0.1"]\n[[group]]',
            "reference.addresses[1]: '10.0.0.1' is reference.addresses[0] as well",
        ),
        (
            "[[group]]",
            '[arbiter]\nkind = "witness"\n[arbiter.witness]\naddresses = ["10.77.0.100"]\n[[group]]',
            "arbiter.witness.addresses[0]: '10.77.0.100' is group[0].addresses[0] as well",
        ),
        (
            "[[group]]",
            '[arbiter]\nkind = "witness"\n[arbiter.witness]\naddresses = ["0.0.0.0", "10.0.0.1", '
            '"10.0.0.1:7720"]\n[[group]]',
            "arbiter.witness.addresses[2]: '10.0.0.1:7720' is arbiter.witness.addresses[1] as well",
        ),
        (
            "[[group]]",
            '[arbiter]\nkind = "witness"\n[arbiter.witness]\naddresses = ["0.0.0.0"]\n[[group]]',
            "arbiter.witness.addresses[0]: '0.0.0.0': the unspecified address",
        ),
        (
            "[[group]]",
            '[arbiter]\nkind = "etcd"\n[arbiter.etcd]\nendpoints = ["http://[fd77::100]:2379"]\n[[group]]',
            "arbiter.etcd.endpoints[0]: 'fd77::100' is group[0].addresses[1] as well",
        ),
    ],
)
def test_what_is_written_for_two_things(tmp_path: Path, old: str, new: str, error: str) -> None:
    found = errors_of(tmp_path, GOOD.replace(old, new, 1))
    assert any(error in one for one in found), found


def test_groups_share_no_address_however_it_is_written(tmp_path: Path) -> None:
    text = GOOD + MAIL.replace("10.77.0.101", "FD77:0:0::100")
    assert any(
        "group[1].addresses: 'fd77::100' belongs to group[0] as" in e for e in errors_of(tmp_path, text)
    )
    (tmp_path / "node.toml").write_text(GOOD + MAIL)
    load(tmp_path / "node.toml")


def test_a_range_may_go_over_ports_of_the_bulk_lane(tmp_path: Path) -> None:
    """Of a range few ports are in use, and heartbeats are UDP."""
    for ports in ('"80/tcp", "7000-7800/tcp"', '"80/tcp", "7710/tcp"'):
        (tmp_path / "node.toml").write_text(GOOD.replace('"80/tcp"', ports))
        load(tmp_path / "node.toml")


def test_a_service_port_is_no_port_of_another_groups_channel(tmp_path: Path) -> None:
    text = GOOD.replace("69/udp", "7731/udp") + MAIL
    assert any(
        "ports[1]: '7731/udp' has ports of fttcp's own" in error for error in errors_of(tmp_path, text)
    )


def test_two_groups_have_two_mac_addresses(tmp_path: Path) -> None:
    text = GOOD.replace("[[group]]", '[[group]]\nmac = "00:00:5e:00:01:0a"')
    text += MAIL.replace("[[group]]", '[[group]]\nmac = "00:00:5E:00:01:0A"')
    told = "group[1].mac: '00:00:5E:00:01:0A' is that of group[0] as well"
    assert any(told in error for error in errors_of(tmp_path, text))
    virtual = text.replace("00:00:5e:00:01:0a", "virtual").replace("00:00:5E:00:01:0A", "virtual")
    (tmp_path / "node.toml").write_text(virtual)
    config = load(tmp_path / "node.toml")
    macs = {service_mac(config, group) for group in config.group}
    assert len(macs) == 2 and all(mac[0] & 3 == 2 for mac in macs)
    peer = config.peer[0]
    grown = msgspec.structs.replace(config, peer=[peer, msgspec.structs.replace(peer, name="gamma")])
    assert {service_mac(grown, group) for group in grown.group} == macs, "a third node changes nothing"


def test_links_of_frames_differ_and_lead_to_somebody(tmp_path: Path) -> None:
    twice = LINKS.replace("[[group]]", '[[link]]\ntransport = "ethernet"\ninterface = "svc0"\n'
                          'remote = "02:00:00:00:00:02"\n[[group]]')  # fmt: skip
    assert any("link[4]: the same as link[2]" in error for error in errors_of(tmp_path, twice))
    nobody = LINKS.replace("02:00:00:00:00:02", "00:00:00:00:00:00")
    assert any("is the address of nobody" in error for error in errors_of(tmp_path, nobody))


def test_the_service_address_of_one_of_several_peers(tmp_path: Path) -> None:
    text = THREE.replace("10.77.0.100", "10.78.0.3")
    assert any(
        "peer[1].link[0].remote: '10.78.0.3' is group[0].addresses[0] as well" in error
        for error in errors_of(tmp_path, text)
    )


PRESENT = GOOD.replace("nginx -g 'daemon off;'", "true")
ETCD = '[arbiter]\nkind = "etcd"\n[arbiter.etcd]\nendpoints = ["https://h:1"]\n'
PROGRAMMABLE = 'engine = "programmable"\n[group.experiment]\ncallback = '


def of(tmp_path: Path, text: str) -> list[str]:
    """What a daemon with this file would be refused for."""
    key = tmp_path / "key"
    if not key.exists():
        keyfile.generate(key)
    path = tmp_path / "node.toml"
    path.write_text(text.replace("/etc/fttcp/key", str(key)))
    try:
        load_to_run(path)
    except ConfigError as error:
        assert all(one.startswith(f"{path}: ") for one in error.errors)
        return [one.removeprefix(f"{path}: ") for one in error.errors]
    return []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (PRESENT.replace('"true"', '"no-such-server -x"'), "group[0].command: there is no no-such-server on"),
        (PRESENT.replace("command", "commands").replace('"true"', '["true", "/no/such"]'),
         "group[0].commands[1]: there is no /no/such"),
        *((PRESENT + f'[group.hooks]\n{hook} = "/no/hook now"', f"[0].hooks.{hook}: there is no /no/hook")
          for hook in ("before_start", "after_stop", "ready_to_follow", "on_takeover", "on_demotion")),
        (PRESENT + '[[group.health.probe]]\ntype = "exec"\ncommand = "/no/probe"',
         "group[0].health.probe[0].command: there is no /no/probe"),
        *((PRESENT.replace("[peer]", f'notify = {{ command = "{name}" }}\n[peer]'), f"command: {error}")
          for name, error in (("/no/mail", "there is no"), ("/etc", "/etc is a directory"),
                              ("/etc/passwd", "/etc/passwd cannot be executed"))),
        (PRESENT + ETCD + 'ca_file = "/no/ca"',
         "arbiter.etcd.ca_file: /no/ca: there is no such file"),
        (PRESENT + ETCD + 'ca_file = "/etc"',
         "arbiter.etcd.ca_file: /etc: cannot be read: Is a directory"),
        (PRESENT + PROGRAMMABLE + '"no_such_module:f"',
         "group[0].experiment.callback: there is no module 'no_such_module'"),
        (PRESENT + PROGRAMMABLE + '"json"',
         "group[0].experiment.callback: 'json' names no function"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_at_a_start(tmp_path: Path, text: str, error: str) -> None:
    found = of(tmp_path, text)
    assert any(error in one for one in found), found
    load(tmp_path / "node.toml")  # commands that only ask the daemon do not look


def test_what_is_there_is_not(tmp_path: Path) -> None:
    hooks = (
        '[group.hooks]\non_takeover = "sh -c true"\n[[group.health.probe]]\ntype = "exec"\ncommand = "true"\n'
    )
    assert of(tmp_path, PRESENT + hooks) == []
    assert of(tmp_path, PRESENT + PROGRAMMABLE + '"json:loads"') == []


def checked(file: Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["check-config", str(file)])
    return done.exit_code, done.output


def test_check_config_tells_all_of_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    (tmp_path / "key").write_text("0" * 64 + "\n")
    (tmp_path / "key").chmod(0o600)
    path.write_text(PRESENT.replace("/etc/fttcp/key", str(tmp_path / "key")).replace("10.77.0.100", "::1"))
    status, said = checked(path)
    assert status == 2 and "a key of zeros is no secret" in said and "loopback" in said
    with pytest.raises(WireError, match="zeros"):
        keyfile.load(tmp_path / "key")
    path.write_text(PRESENT.replace("/etc/fttcp/key", "/no/key") + '[group.hooks]\nafter_stop = "/no/hook"\n')
    status, said = checked(path)
    assert status == 2 and "/no/hook" in said and "/no/key: no key file; make one with" in said


def test_check_config_tries_a_spool(tmp_path: Path) -> None:
    """It may be there, or its parent; nothing is left of the trial."""
    keyfile.generate(tmp_path / "key")
    path = tmp_path / "node.toml"
    good = PRESENT.replace("/etc/fttcp/key", str(tmp_path / "key"))
    for directory, trouble in (
        (tmp_path, None),
        (tmp_path / "spool", None),
        (tmp_path / "no/spool", "No such file or directory"),
        ("/proc/self/spool", "no file can be made in /proc/self"),
    ):
        path.write_text(good + f'renew_spool_dir = "{directory}"\n')
        status, said = checked(path)
        assert (status, trouble is None or trouble in said) == (2 if trouble else 0, True), said
    assert sorted(one.name for one in tmp_path.iterdir()) == ["key", "node.toml"]


def test_check_config_knows_a_witness_from_a_node(tmp_path: Path) -> None:
    key, path = tmp_path / "key", tmp_path / "witness.toml"
    keyfile.generate(key)
    good = f'listen = ["0.0.0.0:7720", "[::]:7720"]\n[[cluster]]\nname = "web"\nkey_file = "{key}"\n'
    path.write_text(good)
    assert checked(path) == (0, f"{path}: good: a witness's file (clusters: web)\n")
    done = CliRunner().invoke(main, ["check-config", "--json", str(path)])
    assert {"kind": "witness", "ok": True, "clusters": ["web"]}.items() <= json.loads(done.stdout).items()
    for old, new, error in (
        ("[::]:7720", "192.0.2.1:7720", "listen[1]: '192.0.2.1:7720' is what listen[0] has, too"),
        ("[::]:7720", "0.0.0.0", "listen[1]: '0.0.0.0' is what listen[0] has, too"),
        ("[::]:7720", "[ff15::1]:7720", "a multicast address"),
        ("[::]:7720", "[fe80::1]:7720", "a link-local address"),
        ("[::]:7720", "[::ffff:192.0.2.1]:7720", "write 192.0.2.1"),
        (str(key), "/no/key", "cluster[0].key_file: /no/key: no key file"),
        (
            'name = "web"',
            'name = "a b"',
            "cluster[0].name: 'a b' is not allowed (allowed: 1 to 32 of",
        ),
        ("[[cluster]]", 'data_file = "x"\n[[cluster]]', "data_file: 'x' is not a path that begins with /"),
        ("listen", "listn", "listn: unknown key (did you mean listen?)"),
    ):
        path.write_text(good.replace(old, new, 1))
        status, said = checked(path)
        assert status == 2 and error in said, said


def test_a_file_of_the_other_daemon_is_told_so(tmp_path: Path) -> None:
    node, witness = tmp_path / "node.toml", tmp_path / "witness.toml"
    node.write_text(GOOD)
    witness.write_text('[[cluster]]\nname = "web"\nkey_file = "/key"\n')
    for words, wrong in ((["node"], witness), (["status"], witness), (["witness", "--status"], node)):
        done = CliRunner().invoke(main, [*words, "--config", str(wrong)])
        assert done.exit_code == 2 and f"{wrong}: a {wrong.stem}'s file, and no" in done.output
        assert len(done.output.splitlines()) == 1


def test_keygen_makes_the_directory_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "fttcp" / "key"
    done = CliRunner().invoke(main, ["keygen", str(file)])
    assert done.exit_code == 0, done.output
    assert (file.parent.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    (tmp_path / "plain").touch()
    done = CliRunner().invoke(main, ["keygen", str(tmp_path / "plain" / "key")])
    assert done.exit_code == 1 and "this directory cannot be made" in done.output
    done = CliRunner().invoke(main, ["keygen", str(tmp_path)])
    assert done.exit_code == 1 and "a directory: name the file in it" in done.output


WRONG = """
peer.name = {0}
link = [{{ transport = {0}, local = "a b", device = "tty", baud = {0} }}]
[node]
name = "a b"
cluster = {0}
key_file = {0}
service_interface = {0}
peer_interface = "a/b"
log_level = {0}
history_kib = {0}
encrypt = {0}
http = {0}
notify = {{ command = "x", events = {0} }}
[reference]
addresses = {0}
method = {0}
[arbiter]
kind = "etcd"
etcd = {{ endpoints = {0}, prefix = "x" }}
[[group]]
name = "?"
addresses = {0}
ports = ["80"]
command = {0}
timing = {0}
compare = {0}
health.probe = [{{ type = {0}, name = " ", path = "x" }}]
"""


@pytest.mark.parametrize(
    "value", ["{ x = 1 }", "[{ x = 1 }]", "-1", "1e3", "2026-01-01", "12:00:00", '""', "true"]
)
def test_no_error_speaks_in_patterns_or_in_python(tmp_path: Path, value: str) -> None:
    found = errors_of(tmp_path, WRONG.format(value))
    assert len(found) > 15
    for error in found:
        assert not re.search(r"\^|\$|\\|\{0,|\[A-Z|[{}]|datetime|True|False|None|<|object", error), error


def test_every_event_that_the_code_tells_can_be_asked_for() -> None:
    told = re.compile(r"(?:history\.add|\.note|_note)\(\s*\"([a-z-]+)\"")
    kinds = {kind for file in (ROOT / "fttcp").rglob("*.py") for kind in told.findall(file.read_text())}
    assert {"rules-missing", "server-bound"} < kinds
    assert kinds - EVENTS.keys() == set()
