"""What the doctor makes of servers, units, files and limits; and that it sees them as they are."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fttcp.cli.checks import CAP_NET_ADMIN, Check, Status
from fttcp.cli.host_checks import (
    Followed,
    Host,
    Outward,
    PidFile,
    Program,
    Secret,
    Signing,
    Spool,
    Times,
    Unit,
    check_host,
)
from fttcp.cli.host_facts import see_host
from fttcp.config import load
from fttcp.config.present import what_is_missing
from fttcp.config.program import Obstacle
from fttcp.network.kernel import hardware_addresses, netlink
from tests.unit.test_config import GOOD

UNIT = Unit("web", "nginx.service", "", "loaded", "active", "enabled", 4711, "systemctl restart nginx")
PID_FILE = PidFile("mail", "/run/mail.pid", "", "/usr/bin/restart-mail")
PROGRAM = Program("group.web.command", "nginx", "")
SECRET = Secret("key", "/etc/fttcp/key", 0o600, 0o755, "fttcp", "fttcp")
HOST = Host(
    units=(UNIT,),
    pid_files=(PID_FILE,),
    programs=(PROGRAM,),
    secrets=(SECRET,),
    times=(Times("web", 20, 100),),
    file_systems={"/var/lib/fttcp": "ext4"},
    in_memory={"/run/fttcp": "tmpfs"},
    rt_runtime_us=950000,
    rt_limit=None,
    guest=True,
    connections=10,
    connections_most=1000,
    large_receive=(),
    without_ipv6=(),
    spools=(Spool("/var/spool/fttcp", "ext4", ""),),
)


def test_connections_that_the_server_opens_come_from_its_address() -> None:
    (good,) = (
        c for c in check_host(replace(HOST, outward=(Outward("mail", (), "10.0.0.1"),))) if "opens" in c.name
    )
    assert good.status is Status.OK
    others = tuple(f"192.0.2.1 to [192.0.2.9]:{port}" for port in range(25, 30))
    bad = findings(replace(HOST, outward=(Outward("mail", others, "10.0.0.1"),)))["opens of mail"]
    assert (
        bad.status is Status.WARN
        and bad.seen.endswith("[192.0.2.9]:27 and 2 more")
        and "10.0.0.1" in bad.todo
    )


@pytest.mark.parametrize(
    ("listed", "seen"),
    [
        ("0 0 192.0.2.1:40000 192.0.2.9:25", ("192.0.2.1 to 192.0.2.9:25",)),
        ("0 0 [::ffff:192.0.2.1]:40000 [::ffff:192.0.2.9]:25", ("192.0.2.1 to [::ffff:192.0.2.9]:25",)),
        ("0 0 [fe80::1%eth0]:40000 [fe80::2%eth0]:25", ("fe80::1 to [fe80::2%eth0]:25",)),
        ("0 0 10.77.0.100:40000 192.0.2.9:25", ()),
        ("0 0 127.0.0.1:40000 127.0.0.1:25", ()),
        ("0 0 192.0.2.1:25 192.0.2.9:40000", ()),
    ],
)
def test_connections_to_such_a_port_are_seen(
    listed: str, seen: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(GOOD.replace("command =", 'opens = ["25/tcp"]\ncommand =', 1))
    monkeypatch.setattr("fttcp.cli.host_facts.asked", lambda command: (listed + "\n", ""))
    assert see_host(load(file), 0).outward == (Outward("web", seen, "10.77.0.100"),)


SIGNS = """of\\054\\040bothLISTEN 0 128 0.0.0.0:80 0.0.0.0:*
\t bbr cwnd:10 md5keys:192.0.2.1/32=,198.51.100.0/24=a/9=b
LISTEN 0 128 *:80 *:*
\t md5keys:192.0.2.9/32=,fd77::9/128=
ESTAB 0 0 10.77.0.100:40000 192.0.2.7:179
\t cubic md5keys:192.0.2.7/32=e
LISTEN 0 128 0.0.0.0:81 0.0.0.0:*
\t md5keys:192.0.2.8/32=f
LISTEN 0 128 0.0.0.0:80 0.0.0.0:*
\t cubic
"""


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        ((), ("192.0.2.1/32", "192.0.2.7/32", "192.0.2.9/32", "198.51.100.0/24", "fd77::9/128")),
        (("192.0.2.0/24", "198.51.100.0/24", "::/0"), ()),
        (("192.0.2.0/29", "198.51.100.0/25", "fd77::9"), ("192.0.2.9/32", "198.51.100.0/24")),
        (("::/0",), ("192.0.2.1/32", "192.0.2.7/32", "192.0.2.9/32", "198.51.100.0/24")),
        (("::ffff:192.0.2.0/120", "::ffff:0:0/96", "fd00::/8"), ()),
    ],
)
def test_peers_that_the_server_signs_with_have_their_key_here(
    known: tuple[str, ...], unknown: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "node.toml"
    entries = ", ".join(f'{{ peer = "{one}", key_file = "/k" }}' for one in known)
    file.write_text(GOOD.replace("command =", f'opens = ["179/tcp"]\nmd5 = [{entries}]\ncommand =', 1))
    monkeypatch.setattr("fttcp.cli.host_facts.asked", lambda command: (SIGNS * ("-Htani" in command), ""))
    (signing,) = see_host(load(file), 1 << CAP_NET_ADMIN).signing
    assert signing == Signing("web", unknown)
    check = findings(replace(HOST, signing=(signing,)))["md5 of web"]
    assert check.status is (Status.WARN if unknown else Status.OK)
    assert all(one in check.seen for one in unknown)


def test_who_is_not_told_with_whom_sockets_sign_does_not_say_that_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(GOOD.replace("command =", 'md5 = [{ peer = "::1", key_file = "/k" }]\ncommand =', 1))
    monkeypatch.setattr("fttcp.cli.host_facts.asked", lambda command: ("", ""))
    for capabilities, status in ((~(1 << CAP_NET_ADMIN), Status.WARN), (1 << CAP_NET_ADMIN, Status.OK)):
        host = replace(HOST, signing=see_host(load(file), capabilities).signing)
        check = findings(host)["md5 of web"]
        assert check.status is status and ("as root" in check.todo) is (status is Status.WARN)


def findings(host: Host) -> dict[str, Check]:
    return {check.name: check for check in check_host(host)}


def test_a_good_host_passes() -> None:
    assert {check.status for check in check_host(HOST)} == {Status.OK}


@pytest.mark.parametrize(
    ("changes", "name", "status", "todo"),
    [
        ({"units": (replace(UNIT, error="there is no systemctl on this host"),)}, "unit nginx.service",
         Status.FAIL, "command or a pid_file"),
        ({"units": (replace(UNIT, load="not-found"),)}, "unit nginx.service", Status.FAIL, "list-units"),
        ({"units": (replace(UNIT, active="failed"),)}, "unit nginx.service", Status.WARN, "enable --now"),
        ({"units": (replace(UNIT, main_pid=0),)}, "unit nginx.service", Status.FAIL, "pid_file"),
        ({"units": (replace(UNIT, enabled="disabled"),)}, "unit nginx.service", Status.WARN, "enable nginx"),
        ({"units": (replace(UNIT, restarted_by=None),)}, "restart of web", Status.WARN, "watched_command"),
        ({"pid_files": (replace(PID_FILE, trouble="no"),)}, "pid file /run/mail.pid", Status.WARN, "mail"),
        ({"pid_files": (replace(PID_FILE, restarted_by=None),)}, "restart of mail", Status.WARN, "watched"),
        ({"programs": (replace(PROGRAM, trouble="there is none"),)}, "program nginx", Status.FAIL,
         "group.web.command"),
        ({"followed": (Followed("web: go", (Obstacle("Go", "off"),)),)}, "lock step of web: go",
         Status.FAIL, "off"),
        ({"followed": (Followed("web: x", (Obstacle("RDRAND", "probe", False),)),)}, "lock step of web: x",
         Status.WARN, "probe"),
        ({"secrets": (replace(SECRET, mode=None),)}, "key", Status.FAIL, "fttcp keygen /etc/fttcp/key"),
        ({"secrets": (replace(SECRET, mode=0o640),)}, "key", Status.FAIL, "chmod 600"),
        ({"secrets": (replace(SECRET, directory_mode=0o777),)}, "key", Status.FAIL, "chmod go-w /etc/fttcp"),
        ({"secrets": (replace(SECRET, owner="root"),)}, "key", Status.FAIL, "chown fttcp"),
        ({"file_systems": {"/run/x": "tmpfs"}}, "directory /run/x", Status.FAIL, "disk"),
        ({"in_memory": {"/var/x": "ext4"}}, "directory /var/x", Status.WARN, "tmpfs"),
        ({"spools": (Spool("/var/x", "ext4", "no"),)}, "directory /var/x", Status.FAIL, "renew_spool_dir"),
        ({"spools": (Spool("/run/x", "tmpfs", ""),)}, "directory /run/x", Status.WARN, "disk"),
        ({"rt_runtime_us": 0}, "real-time limits", Status.WARN, "sched_rt_runtime_us"),
        ({"rt_limit": 10}, "real-time limits", Status.WARN, "LimitRTPRIO=20"),
        ({"times": (Times("web", 20, 20),)}, "heartbeats of web", Status.WARN, "30 or more"),
        ({"connections": 900}, "conntrack", Status.WARN, "nf_conntrack_max=2000"),
        ({"clock_kept": False}, "wall clock", Status.WARN, "chrony"),
        ({"slews_ppm": 83333.333}, "chrony", Status.WARN, "`maxslewrate 400`"),
        ({"slews_ppm": 401.0}, "chrony", Status.WARN, "`maxslewrate 400`"),
        ({"clock_kept": None}, "wall clock", Status.WARN, "adjtimex"),
        ({"clock_kept": False, "clock_followed": True, "clock_led": False}, "wall clock", Status.FAIL,
         "follow_clock"),
        ({"large_receive": ("eth0",)}, "offload eth0", Status.WARN, "lro off"),
        ({"confined": ("User=fttcp",)}, "resources", Status.WARN, "drop-in"),
        ({"without_ipv6": ("eth0",)}, "IPv6 eth0", Status.FAIL, "disable_ipv6=0"),
    ],
)  # fmt: skip
def test_each_fault_is_found_and_says_what_to_do(
    changes: dict[str, Any], name: str, status: Status, todo: str
) -> None:
    found = findings(replace(HOST, **changes))
    assert found[name].status is status and todo in found[name].todo
    assert [check.name for check in found.values() if check.status is not Status.OK] == [name]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"secrets": (replace(SECRET, directory_mode=0o1777),)}, "key"),
        ({"secrets": (replace(SECRET, owner="root", reader=None),)}, "key"),
        ({"followed": (Followed("web: nginx", ()),)}, "lock step of web: nginx"),
        ({"times": (Times("web", 0, 100),), "rt_limit": 0, "rt_runtime_us": 0}, "real-time limits"),
        ({"times": (Times("web", 20, 20),), "guest": False}, "real-time limits"),
        ({"connections_most": 0, "connections": 0}, "conntrack"),
        ({"slews_ppm": 400.0}, "chrony"),
        ({"clock_kept": False, "clock_followed": True}, "wall clock"),
    ],
)
def test_what_looks_like_a_fault_and_is_none(changes: dict[str, Any], name: str) -> None:
    found = findings(replace(HOST, **changes))
    assert {check.status for check in found.values()} == {Status.OK} and name in found


SYSTEMCTL = """#!/bin/sh
case "$5$4" in
*fttcp.service*) echo LoadState=loaded; echo User=nobody ;;
*nginx*) printf 'LoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\nMainPID=%s\\n' $PPID ;;
*) echo LoadState=not-found; echo ActiveState=inactive; echo MainPID=0 ;;
esac
"""


def test_a_configuration_is_looked_at_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL)
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    key, pid = tmp_path / "key", tmp_path / "pid"
    key.touch(mode=0o600)
    pid.write_text(f"{os.getpid()}\n")
    (tmp_path / "plain").write_text("not a program")
    config = tmp_path / "node.toml"
    text = GOOD.replace("/etc/fttcp/key", str(key))
    text = text.replace("[peer]", f'state_dir = "{tmp_path}"\n[peer]', 1)
    groups = (
        (
            "unit",
            "nginx.service",
            '[group.hooks]\non_takeover = "sh -c true"\nbefore_start = "/nowhere/hook"',
        ),
        ("unit", "nothing.service", ""),
        ("pid_file", str(pid), '[group.restart]\nwatched_command = "restart-it now"'),
        ("command", f"{tmp_path}/plain --option", ""),
    )
    for number, (kind, value, more) in enumerate(groups):
        text += (
            f'[[group]]\nname = "g{number}"\naddresses = ["10.77.0.{110 + number}"]\nports = ["80/tcp"]\n'
            f'channel_port = {7800 + 20 * number}\nqueue = {7800 + 40 * number}\n{kind} = "{value}"\n{more}\n'
        )
    config.write_text(text)
    host = see_host(load(config), capabilities=0)
    nginx, nothing = host.units
    assert (nginx.load, nginx.active, nginx.main_pid) == ("loaded", "active", os.getpid())
    assert nothing.load == "not-found"
    assert host.pid_files[0].trouble == "" and host.pid_files[0].restarted_by == "restart-it now"
    troubles = {program.key: program.trouble for program in host.programs}
    assert troubles["group[1].hooks.on_takeover"] == ""
    assert "/nowhere/hook" in troubles["group[1].hooks.before_start"]
    assert "on the path" in troubles["group[3].restart.watched_command"]
    assert "cannot be executed" in troubles["group[4].command"]
    (secret,) = host.secrets
    assert (secret.mode, secret.reader) == (0o600, "nobody") and secret.owner
    assert set(host.file_systems) == {str(tmp_path)} and host.file_systems[str(tmp_path)]
    assert not host.in_memory, "no group is in lock step"
    assert host.rt_limit is not None or os.geteuid() == 0


def test_programs_that_are_to_be_in_lock_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of commands, of units and behind pid files; none where lock step is off."""
    tools = tmp_path / "bin"
    tools.mkdir()
    still = tmp_path / "still"
    source = "echo 'void _start(void) { for (;;); }' | gcc -x c -nostdlib -static -o \"$0\" -"
    subprocess.run(["sh", "-c", source, str(still)], check=True)
    shown = f"ExecStart={{ path={still} ; argv[]={still} -D ; ignore_errors=no ; start_time=[n/a] ; pid=0 }}"
    (tools / "systemctl").write_text(f"#!/bin/sh\necho 'LoadState=loaded'\necho '{shown}'\n")
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    pid = tmp_path / "pid"
    pid.write_text(f"{os.getpid()}\n")
    (tmp_path / "key").touch(mode=0o600)
    text = GOOD.replace("/etc/fttcp/key", str(tmp_path / "key"))
    text = text.replace("[peer]", f'state_dir = "{tmp_path}"\n[peer]', 1)
    for number, (kind, value, lockstep) in enumerate(
        (
            ("command", f"{still} -D", "connection"),
            ("unit", "still.service", "connection"),
            ("pid_file", str(pid), "connection"),
            ("command", f"{still} -D", "off"),
        )
    ):
        text += (
            f'[[group]]\nname = "g{number}"\naddresses = ["10.77.0.{110 + number}"]\nports = ["80/tcp"]\n'
            f'channel_port = {7800 + 20 * number}\nqueue = {7800 + 40 * number}\n{kind} = "{value}"\n'
            f'lockstep = "{lockstep}"\n'
        )
    config = tmp_path / "node.toml"
    config.write_text(text)
    loaded = load(config)
    found = {
        one.where: [obstacle.fatal for obstacle in one.obstacles] for one in see_host(loaded, 0).followed
    }
    ours = f"g2: {Path('/proc/self/exe').readlink()}"
    assert found == {f"g0: {still}": [True], f"g1: {still}": [True], ours: []}
    assert set(see_host(loaded, 0).in_memory) == {str(loaded.run_dir)}
    told = [sentence for sentence in what_is_missing(loaded) if "lockstep" in sentence]
    assert len(told) == 1 and told[0].startswith("group[1].command: lockstep:") and "statically" in told[0]


def test_what_is_in_the_way_of_a_mac_address_is_told() -> None:
    told = findings(replace(HOST, macs={"web": None, "mail": ("svc0 is a macvlan", "remove `mac`")}))
    assert told["mac web"].status is Status.OK and told["mac mail"].status is Status.FAIL
    assert (told["mac mail"].seen, told["mac mail"].todo) == ("svc0 is a macvlan", "remove `mac`")


def test_a_mac_address_of_an_interface_of_this_host_is_in_the_way(tmp_path: Path) -> None:
    with netlink() as kernel:
        taken = next((mac for mac in hardware_addresses(kernel) if len(mac) == 6 and any(mac)), None)
    if taken is None:
        pytest.skip("no interface here has a MAC address")
    (tmp_path / "node.toml").write_text(GOOD.replace("[[group]]", f'[[group]]\nmac = "{taken.hex(":")}"'))
    found = see_host(load(tmp_path / "node.toml"), 0).macs
    assert "own" in next(filter(None, found.values()))[0]
