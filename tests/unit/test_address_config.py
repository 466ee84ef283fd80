"""Groups of `mode = "address"`: what goes with it, and what has no meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.cli.host_facts import see_host
from fttcp.config import ConfigError, load, load_to_run
from fttcp.group.terms import terms
from fttcp.network import tables
from fttcp.node.assembly import core_settings, engine_settings, group_net
from tests.unit.test_config import GOOD, errors_of
from tests.unit.test_terms import SECRETS

_HEAD = GOOD[: GOOD.index("ports = ")]
ADDRESS = f"""{_HEAD}mode = "address"
[[group.resource]]
name = "web"
unit = "nginx.service"
"""
FOREIGN = 'has no meaning with group[0].mode = "address"'


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(ADDRESS)
    (group,) = load(path).group
    assert group.port_list == () and [one.kind for one in group.resource] == ["systemd"]


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('ports = ["80/tcp"]', "ports"),
        ('command = "true"', "command"),
        ('unit = "nginx.service"', "unit"),
        ('lockstep = "connection"', "lockstep"),
        ('renew = "none"', "renew"),
        ('standby = "cold"', "standby"),
        ('state = "memory"', "state"),
        ("workers = 2", "workers"),
        ('history_dir = "/tmp"', "history_dir"),
        ('hooks = { before_start = "true" }', "hooks.before_start"),
        ('health = { hang_action = "warn" }', "health"),
        ("limits = { max_flows = 100 }", "limits"),
    ],
)
def test_what_is_about_connections_is_refused(tmp_path: Path, more: str, key: str) -> None:
    errors = errors_of(tmp_path, ADDRESS.replace('mode = "address"\n', f'mode = "address"\n{more}\n'))
    assert any(error.startswith(f"group[0].{key}: {FOREIGN}") for error in errors), errors


def test_a_group_that_would_serve_nothing_is_refused(tmp_path: Path) -> None:
    errors = errors_of(tmp_path, ADDRESS[: ADDRESS.index("[[group.resource]]")])
    assert [error.split(" (")[0] for error in errors] == ["group[0].resource: missing"]


@pytest.mark.parametrize(
    ("resource", "complaint"),
    [
        (
            "",
            "group[0].resource[0]: one of agent, unit, or start with stop and status is needed, and only one",
        ),
        ('unit = "a"\nagent = "ocf:heartbeat:Dummy"', "group[0].resource[0]: one of agent, unit, or start"),
        ('start = "true"\nstop = "true"', "group[0].resource[0].status: missing (start, stop and status"),
        ('unit = "a"\nparameters = { x = 1 }', "group[0].resource[0].parameters: only an agent has them"),
        (r'unit = "a\u0000b"', "group[0].resource[0].'unit': has a NUL"),
        (
            r'start = "a\u0000b"' + '\nstop = "true"\nstatus = "true"',
            r"group[0].resource[0].start: 'a\x00b' has a NUL",
        ),
        (
            'agent = "ocf:heartbeat:Dummy"\n' + r'parameters = { state = "\u0000" }',
            "group[0].resource[0].'parameters.state': has a NUL",
        ),
        ('agent = "heartbeat:Dummy"', "group[0].resource[0].agent: 'heartbeat:Dummy' is not allowed"),
        ('unit = "a"\ninterval_s = 0', "group[0].resource[0].interval_s: 0 is below 1 (allowed: 1..3600)"),
        (
            'unit = "a"\n[[group.resource]]\nname = "web"\nunit = "b"',
            "group[0].resource[1].name: 'web' is that of another resource",
        ),
    ],
)
def test_a_resource_is_one_thing(tmp_path: Path, resource: str, complaint: str) -> None:
    errors = errors_of(tmp_path, ADDRESS.replace('unit = "nginx.service"', resource))
    assert any(error.startswith(complaint) for error in errors), errors


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("", 'group[0].ports: missing (required, but with group[0].mode = "address")'),
        ('ports = ["80/tcp"]\nhooks = { wait_for = "true" }', "group[0].hooks.wait_for: only for"),
        ('ports = ["80/tcp"]\n[[group.resource]]\nname = "a"\nunit = "a"', "group[0].resource: only for"),
    ],
)
def test_connections_need_ports_and_have_no_resources(tmp_path: Path, more: str, complaint: str) -> None:
    errors = errors_of(tmp_path, f'{_HEAD}command = "true"\n{more}\n')
    assert any(error.startswith(complaint) for error in errors), errors


@pytest.mark.parametrize(
    ("agent", "complaint"),
    [
        ("ocf:heartbeat:Nobody", "there is no agent ocf:heartbeat:Nobody: "),
        ("ocf:heartbeat:Dummy", "agent ocf:heartbeat:Dummy has no parameter 'stat' (did you mean state?)"),
        ("ocf:heartbeat:Filesystem", "agent ocf:heartbeat:Filesystem needs the parameter 'device'"),
    ],
)
def test_agents_are_asked_before_a_daemon_starts(tmp_path: Path, agent: str, complaint: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        ADDRESS.replace('unit = "nginx.service"', f'agent = "{agent}"\nparameters = {{ stat = "x" }}')
    )
    with pytest.raises(ConfigError) as caught:
        load_to_run(path)
    assert any(complaint in error for error in caught.value.errors), caught.value.errors


def test_nothing_is_mirrored_and_only_what_leaves_is_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(ADDRESS)
    config = load(path)
    (group,) = config.group
    net = group_net(config, group)
    assert net.gateway(4) is None and net.gateway(6) is None
    for table in filter(lambda one: not tables.is_guard(one), tables.plan(net)):
        data = b"".join(message.attributes for message in tables.contents(net, table))
        assert data.count(b"TEE") == 0 and data.count(b"NFQUEUE") == 1
    core = core_settings(config, group, SECRETS)
    assert core.cold and core.exclusive and not core.mirror_tested
    assert engine_settings(config, group, SECRETS).ports == ()


def test_doctor_tells_what_in_the_daemons_unit_hinders_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "node.toml"
    systemctl = tmp_path / "systemctl"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for agent, user, strict, wanted in (
        ("ocf:heartbeat:Dummy", "fttcp", "strict", ("User=fttcp", "ProtectSystem=strict")),
        ("ocf:heartbeat:Dummy", "root", "no", ()),
        (None, "fttcp", "strict", ("User=fttcp",)),
        (None, "root", "strict", ()),
    ):
        path.write_text(
            ADDRESS if agent is None else ADDRESS.replace('unit = "nginx.service"', f'agent = "{agent}"')
        )
        lines = ("LoadState=loaded", f"User={user}", f"ProtectSystem={strict}")
        systemctl.write_text("#!/bin/sh\n" + "".join(f"echo {line}\n" for line in lines))
        systemctl.chmod(0o755)
        assert see_host(load(path), 0).confined == wanted


STORED = ADDRESS + '[group.stored_replies]\nports = ["111/udp", "5000-5009/udp"]\n'


def test_stored_replies(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        STORED + 'id_offset = 0\nid_bytes = 4\nmatch = "id"\nunanswered = "execute"\nkeep_s = 60\n'
    )
    config = load(path)
    (group,) = config.group
    settings, net = engine_settings(config, group, SECRETS), group_net(config, group)
    stored = settings.stored
    assert stored is not None and stored.dir == f"{config.node.state_dir}/stored-{group.name}"
    assert (stored.id_at, stored.id_len, stored.by_id, stored.again, stored.go_on) == (
        0,
        4,
        True,
        True,
        False,
    )
    assert (stored.keep_s, stored.answer_ns, stored.bytes) == (60, 10_000_000_000, 64 << 20)
    assert settings.ports == net.ports == ((111, 111, "udp"), (5000, 5009, "udp"))
    path.write_text(ADDRESS)
    (plain,) = load(path).group
    assert engine_settings(config, plain, SECRETS).stored is None and not group_net(config, plain).ports
    assert terms(config, plain, SECRETS) != terms(config, group, SECRETS)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (
            'match = "id"',
            'stored_replies.id_offset: missing (required with group[0].stored_replies.match = "id")',
        ),
        ("keep_s = 1", "stored_replies.keep_s: 1, and a server may answer after 10000 ms"),
        ('ports = ["5009/udp", "5000-5010/udp"]', "stored_replies.ports[1]: '5000-5010/udp' has ports that"),
        ('ports = ["9-8/udp"]', "stored_replies.ports[0]: "),
    ],
)
def test_stored_replies_that_cannot_be(tmp_path: Path, more: str, complaint: str) -> None:
    text = STORED[: STORED.rindex("ports")] if more.startswith("ports") else STORED
    (error,) = errors_of(tmp_path, f"{text}{more}\n")
    assert error.startswith(f"group[0].{complaint}"), error


def test_stored_replies_are_of_udp_and_of_no_connections(tmp_path: Path) -> None:
    errors = errors_of(tmp_path, STORED.replace("111/udp", "111/tcp"))
    assert any("stored_replies.ports[0]" in error and "UDP" in error for error in errors), errors
    stored = '\n[group.stored_replies]\nports = ["111/udp"]\n'
    errors = errors_of(tmp_path, GOOD + stored)
    assert any('stored_replies: only for group[0].mode = "address"' in error for error in errors), errors
