"""What is told of groups that are served, and of those that are not: decisions and words, without targets."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fttcp.cli.main import main
from fttcp.cli.spread import _lasting
from fttcp.config import load
from fttcp.config.spread import entries_of
from fttcp.spread.dns import read_key
from fttcp.spread.haproxy import HaproxyBackend, Server, read_servers
from fttcp.spread.member import Entry, Member, Patience, SpreadError, View, seen, view
from fttcp.spread.service import Service
from tests.unit.test_config import GOOD, errors_of
from tests.unit.test_frontend import ask, frontend

DNS = """
[[spread]]
name = "www"
kind = "dns"
target = "www.example.org"
at = "192.0.2.53"
key_file = "/etc/fttcp/dns.key"
"""
HAPROXY = '[[spread]]\nname = "proxy"\nkind = "haproxy"\ntarget = "site"\nat = "/run/haproxy/admin.sock"\n'
IPVS = '[[spread]]\nname = "lvs"\nkind = "ipvs"\ntarget = "2001:db8::200"\n'
KEY = 'key "fttcp" {\n\talgorithm hmac-sha256;\n\tsecret "c2VjcmV0";\n};\n'


def entries(tmp_path: Path, text: str) -> dict[str, Entry]:
    path = tmp_path / "node.toml"
    path.write_text(GOOD + text)
    return {entry.name: entry for entry in entries_of(load(path))}


def node(name: str, role: str, healthy: bool | None = True) -> dict[str, Any]:
    return {"name": name, "role": role, "healthy": healthy}


@pytest.mark.parametrize(
    ("nodes", "lease_ms", "by"),
    [
        ([node("alpha", "primary"), node("beta", "backup")], 50.0, "alpha"),
        ([node("alpha", "primary"), node("beta", "backup")], 0.0, ""),
        ([node("alpha", "primary", False), node("beta", "backup")], 50.0, ""),
        ([node("alpha", "backup"), node("beta", "primary")], 0.0, "beta"),
        ([node("alpha", "backup"), node("beta", "primary", False)], 0.0, ""),
        ([node("alpha", "primary", False), node("beta", "absent", None)], 50.0, ""),
        ([node("alpha", "primary", False), node("beta", "absent", None)], 0.0, None),
        ([node("alpha", "fenced"), node("beta", "absent", None)], 0.0, None),
        ([node("alpha", "backup"), node("beta", "absent", None)], 0.0, None),
        ([node("alpha", "backup"), node("beta", "primary", False), node("gamma", "absent", None)], 0.0, None),
    ],
)
def test_who_serves_is_a_primary_with_a_healthy_server(nodes: Any, lease_ms: float, by: str | None) -> None:
    groups = [{"name": "web", "nodes": nodes, "lease_ms_left": lease_ms}]
    found = view({"node": "alpha", "groups": groups})
    assert found.by == {"web": by} and found.counts is (by == "alpha")


def test_a_node_that_serves_nothing_has_nothing_to_say() -> None:
    assert View("alpha", {"web": "beta", "shop": "alpha"}).counts
    assert not View("alpha", {"web": "beta", "shop": ""}).counts


def test_who_is_not_heard_may_serve() -> None:
    """alpha serves web, beta shop, and they do not hear each other: neither takes out what the other serves.
    The same goes for a group that is in the file, and that the daemon does not have."""
    shop = [node("alpha", "backup"), node("beta", "absent", None)]
    web = [node("alpha", "primary"), node("beta", "absent", None)]
    found = view(
        {
            "node": "alpha",
            "groups": [
                {"name": "shop", "nodes": shop, "lease_ms_left": 0.0},
                {"name": "web", "nodes": web, "lease_ms_left": 50.0},
            ],
        }
    )
    assert found.counts
    members = [Member("web", "192.0.2.1"), Member("shop", "192.0.2.2"), Member("new", "192.0.2.3")]
    patience = Patience(5)
    for now_s in (0, 10, 100):
        judged, left_s = patience.judge(seen(members, found.by), now_s)
        assert [(one.by, one.certain) for one in judged] == [("alpha", True), ("", False), ("", False)]
        assert left_s is None
    assert [one.certain for one in patience.judge(seen(members, {"shop": ""}), 101)[0]] == [False] * 3


def test_a_takeover_is_no_loss() -> None:
    """Nobody serves for a moment: that is certain only when it lasts; each loss is waited for anew."""
    patience, members = Patience(5), (Member("web", "192.0.2.1"), Member("shop", "192.0.2.2"))

    def certain(now_s: float, **by: str) -> tuple[list[bool], float | None]:
        judged, left_s = patience.judge(seen(members, by), now_s)
        return [member.certain for member in judged], left_s

    assert certain(0, web="alpha", shop="alpha") == ([True, True], None)
    assert certain(10, web="alpha", shop="") == ([True, False], 5)
    assert certain(12, web="", shop="") == ([False, False], 3)
    assert certain(14, web="beta", shop="alpha") == ([True, True], None)
    assert certain(16, web="beta", shop="") == ([True, False], 5)
    assert certain(21, web="beta", shop="") == ([True, True], None)
    assert certain(22, web="beta") == ([True, False], None)
    assert certain(23, web="beta", shop="") == ([True, False], 5)


def test_what_is_told_once_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A takeover may be under way at the first look, or at the second one."""
    monkeypatch.setattr("fttcp.cli.spread.WAIT_S", 0)
    then = [
        {"name": name, "nodes": [node("alpha", role), node("beta", "backup")], "lease_ms_left": 50.0}
        for name, role in (("web", "primary"), ("over", "primary"), ("begins", "backup"), ("dead", "backup"))
    ]
    monkeypatch.setattr("fttcp.cli.spread.ask", lambda *_, **__: {"node": "alpha", "groups": then})
    first = View("alpha", {"web": "alpha", "over": "", "begins": "alpha", "dead": ""})
    again = _lasting(first, Path("/none"))
    assert again.by == {"web": "alpha", "over": "alpha", "begins": None, "dead": ""}
    served = View("alpha", {"web": "alpha", "shop": None})
    assert _lasting(served, Path("/none")) is served


def test_each_target_is_told_in_its_own_words(tmp_path: Path) -> None:
    found = entries(tmp_path, DNS + HAPROXY + IPVS.replace("2001:db8::200", "192.0.2.200"))
    lines = {name: entry.lines(seen(entry.members, {"web": "alpha"})) for name, entry in found.items()}
    assert lines["www"] == [
        "www.example.org. 30 IN A 10.77.0.100  ; web: alpha",
        "www.example.org. 30 IN AAAA fd77::100  ; web: alpha",
    ]
    assert lines["proxy"] == [
        "set server site/web addr 10.77.0.100 port 80",
        "set server site/web state ready",
    ]
    assert lines["lvs"] == [
        "-A -t 192.0.2.200:80 -s wlc",
        "-a -t 192.0.2.200:80 -r 10.77.0.100:80 -m -w 1",
    ]
    nobody = {name: entry.lines(entry.members) for name, entry in found.items()}
    assert nobody["www"][0] == "; www.example.org. 30 IN A 10.77.0.100  ; web: nobody serves it"
    assert nobody["proxy"] == ["set server site/web state maint"]
    assert nobody["lvs"][1].endswith("-m -w 0")
    unheard = {name: entry.lines(seen(entry.members, {})) for name, entry in found.items()}
    assert unheard["www"][0] == "; www.example.org. 30 IN A 10.77.0.100  ; web: not known who serves it"
    assert unheard["proxy"] == [] and unheard["lvs"][1].endswith("-m -w 1")
    assert found["lvs"].apply is None


def test_ipvs_is_told_addresses_of_its_own_version(tmp_path: Path) -> None:
    lvs = entries(tmp_path, IPVS)["lvs"]
    assert lvs.lines(lvs.members) == [
        "-A -t [2001:db8::200]:80 -s wlc",
        "-a -t [2001:db8::200]:80 -r [fd77::100]:80 -m -w 0",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (DNS + DNS, "spread[1].name: 'www' stands there twice"),
        (
            DNS.replace("at = ", "groups = ['shop']\nat = "),
            "spread[0].groups[0]: no group has the name 'shop'",
        ),
        (DNS.replace("at = ", "#"), "spread[0].at: missing (kind dns needs it)"),
        (DNS + 'port = "80/tcp"\n', "spread[0].port: kind dns has no such key"),
        (DNS.replace("www.example.org", "www"), "spread[0].target: 'www' is no domain name"),
        (DNS.replace("www.example.org", "a..org"), "spread[0].target: 'a..org' is no domain name"),
        (DNS + 'zone = "example.net"\n', "spread[0].zone: 'www.example.org' does not lie in 'example.net'"),
        (DNS.replace("192.0.2.53", "ns.example.org"), "spread[0].at: 'ns.example.org' has no IP address"),
        (HAPROXY.replace("site", "a; shutdown"), "spread[0].target: 'a; shutdown' is no name of a backend"),
        (
            HAPROXY.replace("/run/haproxy/admin.sock", "127.0.0.1"),
            "spread[0].at: '127.0.0.1' has no valid port",
        ),
        (HAPROXY + 'port = "81/tcp"\n', "spread[0].port: group web does not have '81/tcp'"),
        (HAPROXY + 'port = "80-81/tcp"\n', "spread[0].port: '80-81/tcp' is a range"),
        (HAPROXY + 'port = "80/udp"\n', "spread[0].port: '80/udp': HAProxy takes TCP"),
        (IPVS + 'at = "192.0.2.1:1"\n', "spread[0].at: kind ipvs has no such key"),
        (IPVS.replace("2001:db8::200", "web"), "spread[0].target: 'web' is no address"),
    ],
)
def test_what_is_wrong_in_an_entry_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    errors = errors_of(tmp_path, GOOD + text)
    assert len(errors) == 1 and errors[0].startswith(complaint), errors


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not one key with algorithm and secret"),
        (KEY + KEY, "not one key"),
        (KEY.replace("secret", "# secret"), "not one key"),
        (KEY.replace("c2VjcmV0", "c2V"), "`tsig-keygen NAME` writes a right one"),
        (KEY.replace("fttcp", "a..b"), "`tsig-keygen NAME` writes a right one"),
        (KEY.replace("c2VjcmV0", "\xff"), "no text"),
        (KEY.replace("sha256", "md5"), "no algorithm 'hmac-md5'"),
        (KEY.replace("sha256", "sha265"), "no algorithm 'hmac-sha265': .*hmac-sha256"),
    ],
)
def test_a_key_file_that_is_none_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "dns.key"
    file.write_text(text, encoding="latin-1")
    file.chmod(0o640)
    with pytest.raises(SpreadError, match=complaint):
        read_key(file)


def test_a_key_file_is_read_as_bind_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "dns.key"
    file.write_text(f"// a comment\n{KEY} # key x {{}}\n")
    file.chmod(0o644)
    with pytest.raises(SpreadError, match="everybody may read or write it: chmod o= /"):
        read_key(file)
    file.chmod(0o640)
    key = read_key(file)
    assert (str(key.name), key.secret, str(key.algorithm)) == ("fttcp.", b"secret", "hmac-sha256.")
    with pytest.raises(SpreadError, match="No such file"):
        read_key(tmp_path / "none")


@pytest.mark.parametrize("secret", ['"c2Vj//8="', '"//8="', '"ab/+"', "c2Vj//8=", "a/b/"])
@pytest.mark.parametrize("behind", ["", " // of fttcp", " # of fttcp", " /* of\nfttcp */"])
def test_a_secret_may_look_like_a_comment(tmp_path: Path, secret: str, behind: str) -> None:
    file = tmp_path / "dns.key"
    file.write_text(KEY.replace('"c2VjcmV0";', f"{secret};{behind}"))
    file.chmod(0o600)
    assert base64.b64encode(read_key(file).secret) == secret.strip('"').encode()


def test_a_fault_of_one_entry_is_told_as_its_own() -> None:
    def apply(members: Any) -> None:
        raise KeyError("hmac-x")

    assert "KeyError: 'hmac-x'" in (Entry("www", (), lambda _: [], apply).tell([]) or "")


def test_servers_of_haproxy_are_read_by_the_names_of_columns() -> None:
    head = "# be_name srv_name srv_addr srv_admin_state srv_port"
    answer = f"1\n{head}\nsite web 192.0.2.100 0 80\nsite shop - 5 0\n\n"
    assert read_servers(answer) == {
        "web": Server("192.0.2.100", 80, True),
        "shop": Server("-", 0, False),
    }
    for wrong in ("", "Can't find backend.\n", "2\n# x\n", "1\n# be_name\nsite\n", answer.replace("80", "x")):
        with pytest.raises(ValueError):
            read_servers(wrong)


def test_a_path_of_haproxy_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(SpreadError, match=r"HAProxy at /nowhere/sock: No such file .*`stats socket`"):
        HaproxyBackend("site", "/nowhere/sock").apply([Member("web", "192.0.2.1", 80)])


def test_a_running_node_is_understood_and_told(tmp_path: Path) -> None:
    """Both the status that it gives, and the op by which it hears of targets."""

    async def scenario() -> None:
        async with frontend(tmp_path) as (face, _, _):
            path = tmp_path / "control.sock"
            assert view(await ask(path, b'{"op": "status"}')) == View("alpha", {"web": "alpha"})
            for said in ({"entry": "www", "why": "no"}, {"entry": "www", "why": None}):
                assert "error" not in await ask(path, json.dumps({"op": "spread", **said}).encode())
            for said in ({}, {"entry": 1, "why": None}, {"entry": "www", "why": 2}):
                assert (
                    "needs an entry"
                    in (await ask(path, json.dumps({"op": "spread", **said}).encode()))["error"]
                )
            events = [(e["event"], e["level"], e.get("why")) for e in face.reporting.history.since(0)]
            assert [e for e in events if e[0].startswith("spread")] == [
                ("spread-failed", "warning", "no"),
                ("spread-good", "info", None),
            ]

    asyncio.run(scenario())


def test_a_daemon_that_cannot_be_asked_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nobody(entry: str, why: str | None) -> None:
        raise AssertionError(entry)

    async def scenario() -> None:
        service = Service([], tmp_path / "none", nobody)
        await service._see()
        await service._see()
        (tmp_path / "none").touch()
        await service._see()

    asyncio.run(scenario())
    first, second = capsys.readouterr().err.splitlines()
    assert "No such file" in first and "Connection refused" in second and first.endswith("as the same user?")


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (["--apply", "--watch"], 2, "give one of them"),
        (["--watch", "--json"], 2, "--watch prints nothing"),
        (["mail"], 1, "no [[spread]] has the name mail (there are: www, lvs)"),
        (["--apply", "lvs"], 1, "kind ipvs is told nothing: print it"),
        (["--watch", "lvs"], 1, "kind ipvs is told nothing: print it"),
        ([], 1, "no daemon answers there"),
    ],
)
def test_what_the_command_refuses(tmp_path: Path, words: list[str], status: int, complaint: str) -> None:
    entries(tmp_path, DNS + IPVS)
    args = ["spread", *words, "--config", str(tmp_path / "node.toml"), "--socket", str(tmp_path / "none")]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == status and complaint in done.output, done.output
