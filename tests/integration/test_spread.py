"""A real BIND and a real HAProxy, on loopback, are told which groups are served."""

from __future__ import annotations

import json
import queue
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest

from fttcp.spread.dns import DnsName
from fttcp.spread.haproxy import HaproxyBackend, read_servers
from fttcp.spread.member import Member, SpreadError, gone
from lab.hosts import await_condition

pytestmark = pytest.mark.skipif(
    shutil.which("named") is None or shutil.which("haproxy") is None, reason="needs bind9 and haproxy"
)

FTTCP = Path(sys.executable).with_name("fttcp")
KEY = 'key "{name}" {{ algorithm hmac-sha256; secret "{secret}"; }};\n'
SECRET, OTHER_SECRET = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhl"
_ZONE = """$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
ns IN A 127.0.0.1
taken IN A 203.0.113.9
alias IN CNAME ns
"""
_NAMED = """
options {{
    directory "{place}"; pid-file none; session-keyfile none; listen-on-v6 {{ none; }};
    listen-on port {port} {{ 127.0.0.1; }}; recursion no; dnssec-validation no;
}};
controls {{ }};
include "{place}/good.key";
zone "example.org" {{ type primary; file "{place}/zone"; allow-update {{ key fttcp; }}; }};
"""
_HAPROXY = """
global
    stats socket {place}/admin.sock mode 600 level admin
    stats socket {place}/user.sock mode 600 level user
    stats socket ipv4@127.0.0.1:{port} level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 1s
    timeout server 1s
backend site
    server web 0.0.0.0:0 disabled
    server shop 192.0.2.9:9
"""
_NODE = """
[node]
name = "alpha"
cluster = "office"
key_file = "/etc/fttcp/key"
service_interface = "eth0"
peer_interface = "eth1"
run_dir = "{place}"
[peer]
name = "beta"
[[link]]
interface = "eth1"
local = "10.78.0.1"
remote = "10.78.0.2"
[[group]]
name = "web"
addresses = ["192.0.2.100"]
ports = ["80/tcp"]
command = "true"
[[group]]
name = "shop"
addresses = ["192.0.2.101"]
ports = ["80/tcp"]
command = "true"
queue = 7740
channel_port = 7730
[[spread]]
name = "www"
kind = "dns"
target = "www.example.org"
at = "127.0.0.1:{dns}"
key_file = "{place}/good.key"
[[spread]]
name = "proxy"
kind = "haproxy"
target = "site"
at = "{place}/admin.sock"
"""
WEB, SHOP = Member("web", "192.0.2.100", 80, "alpha"), Member("shop", "192.0.2.101", 80, "alpha")
NOBODYS = Member("shop", "192.0.2.101", 80)


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Bind:
    """One that serves example.org, and lets the key `fttcp` change it."""

    def __init__(self, place: Path) -> None:
        self.place, self.port = place, free_port()
        (place / "zone").write_text(_ZONE)
        for file, name, secret in (
            ("good", "fttcp", SECRET),
            ("secret", "fttcp", OTHER_SECRET),
            ("name", "stranger", SECRET),
        ):
            (place / f"{file}.key").write_text(KEY.format(name=name, secret=secret))
            (place / f"{file}.key").chmod(0o600)
        (place / "named.conf").write_text(_NAMED.format(place=place, port=self.port))
        with (place / "named.log").open("w") as log:
            argv = ["named", "-g", "-n", "1", "-c", str(place / "named.conf")]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        await_condition(self._answers, 20, f"named answers: {place}/named.log")

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.place / "named.log").read_text()
        try:
            return self.records("ns") == {"127.0.0.1"}
        except OSError:
            return False

    def records(self, name: str, kind: str = "A") -> set[str]:
        query = dns.message.make_query(f"{name}.example.org", kind)
        answer = dns.query.tcp(query, "127.0.0.1", 5, self.port)
        return {data.to_text() for rrset in answer.answer for data in rrset}

    def target(self, name: str = "www", key: str | None = "good", **more: Any) -> DnsName:
        key_file = None if key is None else self.place / f"{key}.key"
        settings = {"cluster": "office", "zone": "example.org.", "server": ("127.0.0.1", self.port)} | more
        return DnsName(name=f"{name}.example.org.", ttl=30, key_file=key_file, **settings)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    made = Bind(tmp_path_factory.mktemp("bind"))
    yield made
    made.close()


class Proxy:
    """An HAProxy with a backend of two servers."""

    def __init__(self, place: Path) -> None:
        self.place, self.port = place, free_port()
        (place / "haproxy.cfg").write_text(_HAPROXY.format(place=place, port=self.port))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.place / "haproxy.log").open("w") as log:
            argv = ["haproxy", "-db", "-f", str(self.place / "haproxy.cfg")]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        await_condition(lambda: bool(self.servers()), 20, f"haproxy answers: {self.place}/haproxy.log")

    def servers(self) -> dict[str, tuple[str, int, bool]]:
        """Address, port, and whether it serves; nothing if it does not answer."""
        try:
            found = read_servers(self.ask("show servers state site")).items()
        except OSError:
            return {}
        return {name: (one.address, one.port, one.serves) for name, one in found}

    def ask(self, command: str) -> str:
        with closing(socket.socket(socket.AF_UNIX)) as channel:
            channel.connect(str(self.place / "admin.sock"))
            channel.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: channel.recv(65536), b"")).decode()

    def close(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(tmp_path)
    yield made
    made.close()


# ---------------------------------------------------------------------- DNS


def test_records_are_added_and_taken_out_one_by_one(bind: Bind) -> None:
    www, v6 = bind.target("one"), Member("web", "2001:db8::100", 0, "alpha")
    www.apply([WEB, SHOP, v6])
    assert bind.records("one") == {"192.0.2.100", "192.0.2.101"}
    assert bind.records("one", "AAAA") == {"2001:db8::100"}
    assert bind.records("_fttcp.one", "TXT") == {'"cluster=office"'}
    www.apply([WEB, Member("shop", "192.0.2.101", certain=False), v6])
    assert len(bind.records("one")) == 2
    www.apply([WEB, NOBODYS, v6])
    www.apply([WEB, NOBODYS, v6])
    assert bind.records("one") == {"192.0.2.100"} and len(bind.records("one", "AAAA")) == 1
    www.apply([replace(WEB, by=""), NOBODYS, v6])
    assert bind.records("one") == {"192.0.2.100"}, "the last one stays"


def test_what_a_group_that_is_gone_has_left_is_taken_out_by_its_address(bind: Bind, proxy: Proxy) -> None:
    """The last record of a name stays here, too."""
    www, (shop,) = bind.target("gone"), gone(["192.0.2.101"], [WEB])
    www.apply([WEB, SHOP])
    www.apply([WEB])
    assert bind.records("gone") == {"192.0.2.100", "192.0.2.101"}, "somebody else may have added it"
    assert www.lines([shop])[0].startswith("; ") and "no group" in www.lines([shop])[0]
    www.apply([shop])
    assert len(bind.records("gone")) == 2
    www.apply([WEB, shop])
    assert bind.records("gone") == {"192.0.2.100"}
    proxy.start()
    site = HaproxyBackend("site", f"{proxy.place}/admin.sock")
    site.apply([WEB, SHOP])
    site.apply([WEB, shop])
    assert proxy.servers()["shop"] == ("192.0.2.101", 80, False) and proxy.servers()["web"][2]
    site.apply([WEB, shop])
    with pytest.raises(SpreadError, match=r"192\.0\.2\.100 is an address of group web"):
        gone(["192.0.2.100"], [WEB])


@pytest.mark.parametrize("name", ["taken", "alias"])
def test_a_name_of_somebody_else_is_not_touched(bind: Bind, name: str) -> None:
    before = bind.records(name), bind.records(f"_fttcp.{name}", "TXT")
    with pytest.raises(SpreadError, match="are not of cluster office"):
        bind.target(name).apply([WEB])
    assert (bind.records(name), bind.records(f"_fttcp.{name}", "TXT")) == before


def test_a_name_belongs_to_one_cluster(bind: Bind) -> None:
    bind.target("two").apply([WEB])
    with pytest.raises(SpreadError, match="are not of cluster depot"):
        bind.target("two", cluster="depot").apply([SHOP])
    assert bind.records("two") == {"192.0.2.100"}


@pytest.mark.parametrize(
    ("key", "more", "complaint"),
    [
        ("name", {}, "BADKEY: it does not know the key in .*name.key"),
        ("secret", {}, "BADSIG: it does not know the key in .*secret.key"),
        (None, {}, "REFUSED: let this key update it there"),
        ("good", {"zone": "example.net."}, "NOTAUTH: let this key update it|name is not in this zone"),
        ("good", {"server": ("127.0.0.1", 1)}, "Connection refused"),
    ],
)
def test_a_server_that_refuses_is_told_why(bind: Bind, key: str | None, more: Any, complaint: str) -> None:
    name = "three.example.net." if "zone" in more else "three.example.org."
    target = bind.target("three", key, **more)
    target = DnsName(target.cluster, name, target.zone, 30, target.server, target.key_file)
    with pytest.raises(SpreadError, match=complaint):
        target.apply([WEB])
    assert bind.records("three") == set()


# ---------------------------------------------------------------------- HAProxy


@pytest.mark.parametrize("by_tcp", [False, True])
def test_servers_of_a_backend_follow(proxy: Proxy, by_tcp: bool) -> None:
    proxy.start()
    place = ("127.0.0.1", proxy.port) if by_tcp else f"{proxy.place}/admin.sock"
    site = HaproxyBackend("site", place)
    site.apply([WEB, NOBODYS])
    assert proxy.servers() == {"web": ("192.0.2.100", 80, True), "shop": ("192.0.2.9", 9, False)}
    v6 = Member("shop", "2001:db8::101", 8080, "beta")
    site.apply([Member("web", "192.0.2.100", 80, certain=False), v6])
    assert proxy.servers() == {"web": ("192.0.2.100", 80, True), "shop": ("2001:db8::101", 8080, True)}
    proxy.close()
    proxy.start()  # it has forgotten everything
    site.apply([WEB, SHOP])
    assert proxy.servers() == {"web": ("192.0.2.100", 80, True), "shop": ("192.0.2.101", 80, True)}


@pytest.mark.parametrize(
    ("backend", "file", "group", "complaint"),
    [
        (
            "site",
            "admin.sock",
            "mail",
            "backend site has no server mail: put into it: server mail 192.0.2.1:80",
        ),
        ("nowhere", "admin.sock", "web", "backend nowhere: it says: Can't find backend"),
        ("site", "user.sock", "web", "Permission denied.*`level admin`"),
    ],
)
def test_what_haproxy_refuses_is_told(
    proxy: Proxy, backend: str, file: str, group: str, complaint: str
) -> None:
    proxy.start()
    with pytest.raises(SpreadError, match=complaint):
        HaproxyBackend(backend, f"{proxy.place}/{file}").apply([Member(group, "192.0.2.1", 80, "alpha")])


# ---------------------------------------------------------------------- all of it


class Daemon(socketserver.ThreadingUnixStreamServer):
    """Stands for alpha's daemon: says who serves, tells of events, and hears how it went."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.by, self.asked = {"web": "alpha", "shop": "alpha"}, 0
        self.told, self.followers = list[dict[str, Any]](), list[queue.Queue[None]]()
        super().__init__(str(path), _Asked)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def now(self, **by: str) -> None:
        """Others serve from now on; an event tells that there is news."""
        self.by = by
        for follower in self.followers:
            follower.put(None)

    def status(self) -> dict[str, Any]:
        groups = [
            {
                "name": name,
                "lease_ms_left": 50.0,
                "nodes": [
                    {"name": node, "role": "primary" if node == by else "backup", "healthy": True}
                    for node in ("alpha", "beta")
                ],
            }
            for name, by in self.by.items()
        ]
        return {"node": "alpha", "groups": groups}


class _Asked(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        request, daemon = json.loads(self.rfile.readline()), self.server
        assert isinstance(daemon, Daemon)
        match request["op"]:
            case "status":
                daemon.asked += 1
                self.wfile.write(json.dumps(daemon.status()).encode() + b"\n")
            case "spread":
                daemon.told.append(request)
                self.wfile.write(b"{}\n")
            case "events":
                news: queue.Queue[None] = queue.Queue()
                daemon.followers.append(news)
                while True:
                    news.get()
                    self.wfile.write(b'{"event": "role"}\n')


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "control.sock")
    yield made
    made.shutdown()
    made.server_close()


def test_targets_follow_the_daemon(bind: Bind, proxy: Proxy, daemon: Daemon, tmp_path: Path) -> None:
    """One that does not answer keeps no other one waiting, and is told when it does; a takeover elsewhere
    changes nothing; a group that nobody serves is taken out, and comes back."""
    config = tmp_path / "node.toml"
    config.write_text(_NODE.format(place=tmp_path, dns=bind.port))
    shutil.copy(bind.place / "good.key", tmp_path)
    with (tmp_path / "spread.log").open("w") as log:
        argv = [str(FTTCP), "spread", "--watch", "--config", str(config)]
        watch = subprocess.Popen(argv, stderr=log)
    try:
        both = {"192.0.2.100", "192.0.2.101"}
        await_condition(lambda: bind.records("www") == both, 20, "both groups have records")
        await_condition(lambda: bool(daemon.told), 20, "it is told that HAProxy fails")
        assert daemon.told[0]["entry"] == "proxy" and "admin.sock: No such file" in daemon.told[0]["why"]
        proxy.start()
        served = {"web": ("192.0.2.100", 80, True), "shop": ("192.0.2.101", 80, True)}
        await_condition(lambda: proxy.servers() == served, 20, "HAProxy is told")
        await_condition(lambda: len(daemon.told) == 2, 20, "and the daemon")
        assert daemon.told[1] == {"op": "spread", "entry": "proxy", "why": None}
        bind.target().apply([WEB, NOBODYS])
        for _ in range(2):  # what is told of the first answer is told before the second one
            asked = daemon.asked
            daemon.now(web="beta", shop="beta")
            await_condition(lambda: daemon.asked > asked, 20, "the daemon is asked")  # noqa: B023
        assert bind.records("www") == {"192.0.2.100"}, "this node serves nothing: it says nothing"
        daemon.now(web="alpha", shop="alpha")
        await_condition(lambda: bind.records("www") == both, 20, "now it does")
        daemon.now(web="alpha", shop="")
        await_condition(lambda: bind.records("www") == {"192.0.2.100"}, 20, "shop is taken out")
        await_condition(lambda: not proxy.servers()["shop"][2], 20, "there, too")
        assert proxy.servers()["web"] == served["web"]
        daemon.now(web="alpha", shop="beta")
        await_condition(lambda: bind.records("www") == both, 20, "it is there again")
        await_condition(lambda: proxy.servers() == served, 20, "there, too")
        asked = daemon.asked
        proxy.ask("set server site/web state maint")  # as a reload leaves it
        await_condition(lambda: proxy.servers() == served, 20, "it is told again")
        assert daemon.asked == asked, "without news"
    finally:
        watch.terminate()
        assert watch.wait(20) == 0, (tmp_path / "spread.log").read_text()
    assert len(daemon.told) == 2


def test_the_command_prints_and_tells_once(bind: Bind, proxy: Proxy, daemon: Daemon, tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text(_NODE.format(place=tmp_path, dns=bind.port).replace("www.", "once."))
    shutil.copy(bind.place / "good.key", tmp_path)
    daemon.by["shop"] = ""

    def spread(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [str(FTTCP), "spread", *words, "--config", str(config)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30)

    assert "; once.example.org. 30 IN A 192.0.2.101  ; shop: nobody serves it" in spread("www").stdout
    (told,) = json.loads(spread("proxy", "--json").stdout)["spread"]
    assert [(one["group"], one["by"]) for one in told["members"]] == [("web", "alpha"), ("shop", "")]
    done = spread("--apply")
    assert done.returncode == 1 and "proxy: HAProxy at" in done.stderr
    assert bind.records("once") == {"192.0.2.100"}
    proxy.start()
    daemon.by["shop"] = "beta"
    assert spread("--apply", "proxy").returncode == 0 and proxy.servers()["web"][2]
    bind.target("once").apply([WEB, Member("old", "192.0.2.102", 0, "alpha")])
    assert spread("--apply", "--remove", "192.0.2.102").returncode == 0
    assert bind.records("once") == {"192.0.2.100", "192.0.2.101"}
    for address, said in (("192.0.2.100", "an address of group web"), ("x", "does not appear to be")):
        done = spread("--apply", "--remove", address)
        assert done.returncode == 1 and said in done.stderr
    assert spread("--remove", "192.0.2.102").returncode == 2
    daemon.by["web"] = "beta"
    done = spread("--apply")
    assert done.returncode == 1 and "alpha serves no group" in done.stderr
