"""The configuration file: what a good one yields, and every error of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.config import Config, ConfigError, load

GOOD = """
[node]
name = "alpha"
cluster = "lab"
key_file = "/etc/fttcp/key"
service_interface = "svc0"
peer_interface = "peer0"
[peer]
name = "beta"
[[link]]
interface = "peer0"
local = "10.78.0.1"
remote = "10.78.0.2"
remote_v6 = "fd78::2"
[[group]]
name = "web"
addresses = ["10.77.0.100", "fd77::100"]
ports = ["80/tcp", "69/udp"]
command = "nginx -g 'daemon off;'"
"""


def test_ranges_of_ports(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(GOOD.replace('"80/tcp"', '"80/tcp", "8000-8099/tcp", "81-81/tcp"'))
    assert load(path).group[0].port_list == (
        (80, 80, "tcp"), (8000, 8099, "tcp"), (81, 81, "tcp"), (69, 69, "udp"),
    )  # fmt: skip


def errors_of(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(error.startswith(f"{path}: ") for error in caught.value.errors)
    return [error.removeprefix(f"{path}: ") for error in caught.value.errors]


def test_a_good_file_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(GOOD)
    config = load(path)
    (group,) = config.group
    assert group.timing.lease_ms == 100 and group.timing.startup_ms == 1000
    assert group.port_list == ((80, 80, "tcp"), (69, 69, "udp"))
    assert config.socket_path == Path("/run/fttcp/control.sock")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            "[group.timing]\nheartbeat_ms = 2",
            "group[0].timing.heartbeat_ms: 2 is below 5 (allowed: 5..10000)",
        ),
        ("[group.timing]\nheartbeat_misses = 2", "2 is below 3 (allowed: 3..100)"),
        ("[group.timing]\nheartbeat_ms = 20000", "20000 is above 10000 (allowed: 5..10000)"),
        ("[group.timing]\nheartbeat_ms = true", "true is not an integer (allowed: 5..10000)"),
        (
            "[group.timing]\nheart_ms = 20",
            "group[0].timing.heart_ms: unknown key (did you mean heartbeat_ms?)",
        ),
        ("[group.timing]\nstartup_wait_ms = 100", "allowed: 500..600000"),
        ("[group.timing]\nbusy_poll_us = 20000", "busy_poll_us"),
        ('engine = "magic"', "group[0].engine: 'magic' is not allowed (allowed: nfqueue, programmable)"),
        ("compare = 1", "group[0].compare: 1 is not allowed (allowed: true, false)"),
        ('commands = ["a \'b"]', 'group[0].commands[0]: "a \'b" cannot be split into words'),
        ('pid_file = "/run/x"', "exactly one of command (or commands), pid_file, unit"),
        ("workers = 9", "group[0].workers: 9 is above 8"),
        ('mac = "02:00:00:00:00"', "group[0].mac: '02:00:00:00:00' is no station's MAC address"),
        ('mac = "01:00:5e:00:00:01"', "group[0].mac: '01:00:5e:00:00:01' is no station's MAC address"),
        ('mac = "00:00:00:00:00:00"', "group[0].mac: '00:00:00:00:00:00' is no station's MAC address"),
        (
            '[[group.health.probe]]\ntype = "ping"',
            "group[0].health.probe[0].type: 'ping' is not allowed (allowed: exec, http, tcp, udp)",
        ),
        (
            '[[group.health.probe]]\ntype = "exec"',
            "group[0].health.probe[0].command: missing (required for type exec)",
        ),
        (
            '[[group.health.probe]]\ntype = "exec"\ncommand = "\'a"',
            'probe[0].command: "\'a" cannot be split into words',
        ),
        (
            '[[group.health.probe]]\ntype = "udp"',
            "group[0].health.probe[0]: type udp needs request and expect",
        ),
        (
            '[[group.health.probe]]\ntype = "tcp"\npath = "/x"',
            "probe[0].path: a probe of type tcp has no such key (http)",
        ),
        ('[[group.health.probe]]\ntype = "tcp"\ninterval_ms = 1', "probe[0].interval_ms: 1 is below 10"),
        (
            '[[group.health.probe]]\ntype = "http"\nexpect = "("',
            "probe[0].expect: '(' is not a regular expression",
        ),
        (
            '[[group.health.probe]]\ntype = "http"\naddress = "here"',
            "probe[0].address: 'here' is not an IP address",
        ),
        (
            '[[group.health.probe]]\ntype = "tcp"\nname = "hang"',
            "probe[0].name: 'hang' is the name of another check",
        ),
        (
            "[group.restart]\ndelay_ms = 20000",
            "group[0].restart.delay_ms: 20000 is above delay_most_ms 10000",
        ),
        (
            '[group.restart]\nwatched_command = "x"',
            "group[0].restart.watched_command: only for servers under pid_file or unit",
        ),
        ('state = "files"', 'group[0].state: "files" needs group[0].hooks.ready_to_follow'),
        ('state = "disk"', "group[0].state"),
        (
            'order = "service"',
            'group[0].order: "service" is an order of TCP connections, and group[0].ports has 69/udp',
        ),
        ('order = "any"', "group[0].order"),
        (
            'renew = "history"',
            'group[0].renew: "history" is one of TCP connections, and group[0].ports has 69/udp',
        ),
        (
            'renew = "history"\nworkers = 2',
            'group[0].workers: 2 does not go with group[0].renew = "history" (allowed: 1)',
        ),
        (
            'standby = "warm"',
            'group[0].standby: "warm" needs group[0].hooks.checkpoint and group[0].hooks.restore',
        ),
        ('hooks.restore = "true"', 'group[0].hooks.restore: only for group[0].standby "warm"'),
        (
            'standby = "cold"\nrenew = "none"',
            "group[0].renew: 'none' does not go with group[0].standby 'cold' (allowed: 'connections')",
        ),
        ('lockstep = "all"', "group[0].lockstep"),
        ('history_dir = "/x"\nrenew = "none"', "group[0].history_dir needs group[0].renew"),
        ('history_dir = "x"', "group[0].history_dir"),
        ('renew_spool_dir = "x"', "group[0].renew_spool_dir"),
        (
            'renew_spool_dir = "/x"\nrenew = "none"',
            "group[0].renew_spool_dir: group[0].renew is 'none', which has no use for it",
        ),
        (
            'renew_spool_dir = "/x"\nlimits.renew_flow_bytes = 8388608',
            "group[0].limits.renew_flow_bytes: 8388608 with group[0].renew_spool_dir, through whose memory "
            "all goes (allowed: 65536..4194304)",
        ),
        ('history_fsync = "often"', "group[0].history_fsync"),
        ('history_fsync = "0ms"', "group[0].history_fsync"),
        (
            'lockstep = "connection"\ncompare = false',
            "group[0].compare: False does not go with group[0].lockstep (allowed: True",
        ),
        (
            'lockstep = "connection"\nunverified = "continue"',
            "group[0].unverified: 'continue' does not go with group[0].lockstep (allowed: 'reset'",
        ),
        ('[group.hooks]\non_takeover = " "', "group[0].hooks.on_takeover: ' ' names no program"),
        (
            '[group.health]\nhang_action = "pray"',
            "health.hang_action: 'pray' is not allowed (allowed: failover, ignore, restart, warn)",
        ),
        (
            '[reference]\naddresses = ["10.77.0.100"]',
            "reference.addresses[0]: '10.77.0.100' is a service address",
        ),
        ('[reference]\naddresses = ["gw"]', "reference.addresses[0]: 'gw' is not an IP address"),
        (
            '[reference]\naddresses = ["10.0.0.1"]\ntimeout_ms = 600',
            "reference.timeout_ms: 600 is above interval_ms 500",
        ),
        (
            '[[group]]\nname = "web"\naddresses = ["10.77.0.100"]\nports = ["81/tcp"]\nunit = "u"',
            "group[1].queue",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path: Path, line: str, error: str) -> None:
    assert any(error in found for found in errors_of(tmp_path, GOOD + line))


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('"80/tcp", ', '"80/tcp", "70000/udp", ', "group[0].ports[1]: '70000/udp' has no valid port"),
        ('"80/tcp"', '"80"', "group[0].ports[0]: '80' is not allowed"),
        ("10.77.0.100", "10.77.0", "group[0].addresses[0]: '10.77.0' is not an IP address"),
        ('remote_v6 = "fd78::2"', "", "link[0].remote_v6: group[0] has an IPv6 address and TCP ports"),
        (
            'interface = "peer0"\nlocal',
            'interface = "x"\nlocal',
            "link[0].interface: 'x' is not node.peer_interface",
        ),
        ('name = "beta"', 'name = "alpha"', "peer.name: 'alpha' is this node's own name"),
        ("[peer]", "[per]", "per: unknown key (did you mean peer?)"),
        ("[[link]]", "[link]", "is not a list"),
        ('cluster = "lab"\n', "", "node.cluster: missing (required)"),
        ("[node]", "[node", "not TOML"),
    ],
)
def test_a_wrong_place_is_named(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert any(error in found for found in errors_of(tmp_path, GOOD.replace(old, new, 1)))


THREE = (
    GOOD.replace("[peer]", "[[peer]]")
    .replace("[[link]]", "[[peer.link]]")
    .replace(
        "[[group]]",
        """[[peer]]
name = "gamma"
[[peer.link]]
interface = "peer0"
local = "10.78.0.1"
remote = "10.78.0.3"
remote_v6 = "fd78::3"
[arbiter]
kind = "witness"
[arbiter.witness]
addresses = ["10.79.0.30:7720"]
[[group]]""",
        1,
    )
)


def test_several_peers_have_links_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(THREE)
    config = load(path)
    assert [(peer.name, peer.link[0].remote) for peer in config.peer] == [
        ("beta", "10.78.0.2"),
        ("gamma", "10.78.0.3"),
    ]
    path.write_text(GOOD)
    assert load(path).peer == config.peer[:1]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ('name = "gamma"', 'name = "beta"', "peer[1].name: 'beta' is the name of another peer as well"),
        ('name = "gamma"', 'name = "alpha"', "peer[1].name: 'alpha' is this node's own name"),
        ('remote = "10.78.0.3"', 'remote = "x"', "peer[1].link[0].remote: 'x' is not an IP address"),
        ('remote_v6 = "fd78::3"', "", "peer[1].link[0].remote_v6: group[0] has an IPv6 address"),
        ("[[peer.link]]", "[[link]]", "link: unknown key"),
        (
            'remote = "10.78.0.3"',
            'remote = "10.78.0.2"',
            "peer[1].link[0].remote: '10.78.0.2' is the address of another peer as well",
        ),
        (
            'kind = "witness"\n[arbiter.witness]\naddresses = ["10.79.0.30:7720"]',
            'kind = "none"',
            "arbiter.kind: 'none' cannot keep 3 nodes apart: it serves a pair only",
        ),
        (
            'local = "10.78.0.1"\nremote = "10.78.0.3"',
            'local = "10.78.0.9"\nremote = "10.78.0.3"',
            "peer[1].link[0].local: '10.78.0.9' is not that of peer[0], '10.78.0.1'",
        ),
        ('interface = "peer0"\nlocal', 'interface = "x"\nlocal', "peer[0].link[0].interface: 'x' is not"),
    ],
)
def test_what_is_wrong_with_one_of_several_peers(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert any(error in found for found in errors_of(tmp_path, THREE.replace(old, new, 1)))


LINKS = GOOD.replace(
    "[[group]]",
    """[[link]]
transport = "multicast"
interface = "svc0"
remote = "239.255.77.1"
[[link]]
transport = "ethernet"
interface = "svc0"
remote = "02:00:00:00:00:02"
[[link]]
transport = "serial"
device = "/dev/ttyS0"
baud = 115200
[[group]]""",
    1,
)


def test_links_of_every_kind(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(LINKS)
    kinds = [link.transport for link in load(path).peer[0].link]
    assert kinds == ["udp", "multicast", "ethernet", "serial"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (
            'interface = "svc0"\nremote = "239',
            'remote = "239',
            "link[1].interface: missing (transport multicast",
        ),
        ("239.255.77.1", "10.77.0.2", "link[1].remote: '10.77.0.2' is not a multicast address"),
        ("02:00:00:00:00:02", "02:00:00:00:00", "link[2].remote: '02:00:00:00:00' is not a MAC address"),
        ("baud = 115200", "baud = 115201", "link[3].baud: 115201 is not allowed (allowed: 9600, 19200"),
        (
            "baud = 115200",
            "baud = 9600",
            "link[3].baud: at 9600 a heartbeat takes 312 ms, too long for the 100",
        ),
        ("baud = 115200\n", "", "link[3].baud: missing"),
        ("/dev/ttyS0", "ttyS0", "link[3].device: 'ttyS0' is not allowed"),
        (
            'device = "/dev/ttyS0"',
            'device = "/dev/ttyS0"\nlocal = "::1"',
            "link[3].local: transport serial has no",
        ),
        (
            '[[link]]\ninterface = "peer0"',
            '[[link]]\ntransport = "ethernet"\ninterface = "peer0"',
            "link[0].transport: 'ethernet', but",
        ),
        ('"multicast"', '"carrier pigeon"', "allowed: ethernet, multicast, serial, udp"),
    ],
)
def test_what_is_wrong_with_a_link(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert any(error in found for found in errors_of(tmp_path, LINKS.replace(old, new, 1)))


def loaded(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return load(path)


def test_a_serial_line_serves_several_groups_as_far_as_it_is_fast_enough(tmp_path: Path) -> None:
    groups = [
        f'[[group]]\nname = "g{n}"\naddresses = ["10.77.1.{n}"]\nports = ["25/tcp"]\ncommand = "true"\n'
        f"channel_port = {8000 + 10 * n}\nqueue = {100 + 32 * n}\n"
        for n in range(1, 40)
    ]
    assert len(loaded(tmp_path, LINKS + "".join(groups[:4])).group) == 5
    too_many = errors_of(tmp_path, LINKS + "".join(groups[:19]))
    assert any("link[3].baud: at 115200 a heartbeat takes 85 ms, too long" in error for error in too_many)
    fast = LINKS.replace("115200", "460800")
    assert len(loaded(tmp_path, fast + "".join(groups)).group) == 40
    short = fast + "[group.timing]\nheartbeat_misses = 3\n" + "".join(groups)
    assert any(
        "has room for 31 of the 40 groups: group[0] would be silent for 87 ms" in error
        for error in errors_of(tmp_path, short)
    )


@pytest.mark.parametrize(
    ("old", "wrong", "right", "error"),
    [
        (
            'cluster = "lab"',
            'cluster = "lab"\nheartbeat_port = 7711',
            'cluster = "lab"\nheartbeat_port = 7719',
            "node.heartbeat_port: 7711 is a port of group[0]'s commit channel, 7711 to 7718",
        ),
        (
            '"69/udp"',
            '"7700-7710/udp"',
            '"7700-7709/udp"',
            "group[0].ports[1]: '7700-7710/udp' has the port of fttcp's heartbeats, 7710",
        ),
    ],
)
def test_the_port_of_heartbeats_is_theirs_alone(
    tmp_path: Path, old: str, wrong: str, right: str, error: str
) -> None:
    assert any(found.startswith(error) for found in errors_of(tmp_path, GOOD.replace(old, wrong, 1)))
    loaded(tmp_path, GOOD.replace(old, right, 1))


def test_a_serial_line_has_two_ends(tmp_path: Path) -> None:
    line = '[[peer.link]]\ntransport = "serial"\ndevice = "/dev/ttyS0"\nbaud = 115200\n'
    text = THREE.replace('[[peer]]\nname = "gamma"', line + '[[peer]]\nname = "gamma"', 1)
    text = text.replace("[[group]]", line + "[[group]]", 1)
    assert any("used by peer[0].link[1] already" in error for error in errors_of(tmp_path, text))


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    bad = (
        GOOD.replace('cluster = "lab"', "cluster = 5").replace('"80/tcp"', "80") + "workers = 0\nnonsense = 1"
    )
    assert len(errors_of(tmp_path, bad)) == 4


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load(tmp_path / "none.toml")


def test_what_is_wrong_between_values_is_told_beside_what_is_wrong_by_itself(tmp_path: Path) -> None:
    bad = GOOD.replace('name = "beta"', 'name = "alpha"').replace('"/etc/fttcp/key"', "7")
    bad = bad.replace('["10.77.0.100", "fd77::100"]', '["10.77.0.100", "nothing"]')
    bad += 'unit = "nginx.service"\ntiming = { heartbeat_ms = 1, startup_wait_ms = 60 }\nqueue = "x"\n'
    bad += '[[group]]\nname = "web"\naddresses = ["10.77.0.100"]\nports = ["80/tcp"]\npid_file = "/run/x"\n'
    told = "\n".join(errors_of(tmp_path, bad))
    for part in (
        "node.key_file: 7",
        "peer.name: 'alpha' is this node's own name",
        "heartbeat_ms: 1 is below",
        "group[0].queue: 'x' is not an integer",
        "group[0].addresses[1]: 'nothing' is not an IP address",
        "group[0]: exactly one of command",
        "group[1].name: 'web' is the name of group[0] as well",
        "group[1].addresses: '10.77.0.100' belongs to group[0] as well",
    ):
        assert part in told, told
    assert "startup_wait_ms" not in told  # hangs on heartbeat_ms


@pytest.mark.parametrize(
    "text",
    ["", "node = 1", "peer = []", "[[peer]]", "[peer]\nname = 3", "group = [1]\nlink = []", "link = [[]]"],
)
def test_a_file_full_of_holes_is_refused_without_an_accident(tmp_path: Path, text: str) -> None:
    assert errors_of(tmp_path, text)
