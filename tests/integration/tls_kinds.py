"""One nginx with every kind of HTTPS: what it serves on which port, and clients of each kind, at once."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

from lab.download import Download, make_file, receive
from lab.lifecycle import Lab
from lab.network import CLIENT, SERVICE4

SIZE = 6_000_000
"""More than the client's buffers hold."""
PART = SIZE // 8
PAUSE_S = 0.02
"""After each chunk that a slow client takes."""
RSA, ECDSA, ED25519, H2, CLIENTS, CACHED = 443, 444, 445, 446, 447, 448
PLAIN = 80
H2_BUFFER = 8192 + 9
"""A frame of HTTP/2 as nginx makes them, with its header: so each is a TLS record, whenever it is sent."""
KEYS = {
    "rsa": "rsa:2048",
    "ecdsa": "ec -pkeyopt ec_paramgen_curve:prime256v1",
    "ed25519": "ed25519",
    "client": "ec -pkeyopt ec_paramgen_curve:prime256v1",
}
_HTTP = """
daemon off; worker_processes 1; error_log stderr; pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    ssl_protocols TLSv1.2 TLSv1.3;
    root {home}/files;
    {servers}
}}
"""
_SERVER = """
    server {{
        listen {port}{how}; listen [::]:{port}{how};
        location = /hello {{ return 200 "hello\\n"; }}
        {more}
    }}
"""


class Kind(NamedTuple):
    """What a client asks for."""

    port: int
    options: str = ""
    path: str = "file"


_OWN = " --cert {home}/client.pem --key {home}/client.key"
DOWNLOADS = {
    "plain": Kind(PLAIN),
    "tls1.3 rsa aes": Kind(RSA, "--tlsv1.3 --tls13-ciphers TLS_AES_256_GCM_SHA384"),
    "tls1.3 ecdsa chacha20": Kind(ECDSA, "--tlsv1.3 --tls13-ciphers TLS_CHACHA20_POLY1305_SHA256"),
    "tls1.3 ed25519 aes": Kind(ED25519, "--tlsv1.3 --tls13-ciphers TLS_AES_128_GCM_SHA256"),
    "tls1.2 rsa aes": Kind(RSA, "--tls-max 1.2 --ciphers ECDHE-RSA-AES128-GCM-SHA256"),
    "tls1.2 rsa chacha20": Kind(RSA, "--tls-max 1.2 --ciphers ECDHE-RSA-CHACHA20-POLY1305"),
    "tls1.2 ecdsa aes": Kind(ECDSA, "--tls-max 1.2 --ciphers ECDHE-ECDSA-AES256-GCM-SHA384"),
    "tls1.2 ed25519 chacha20": Kind(ED25519, "--tls-max 1.2 --ciphers ECDHE-ECDSA-CHACHA20-POLY1305"),
    "tls1.3 client certificate": Kind(CLIENTS, "--tlsv1.3" + _OWN),
    "tls1.2 client certificate": Kind(CLIENTS, "--tls-max 1.2" + _OWN),
    "tls1.3 http/2": Kind(H2, "--tlsv1.3 --http2"),
    "tls1.2 http/2": Kind(H2, "--tls-max 1.2 --http2"),
}
SESSIONS = [(port, version) for port in (RSA, H2, CACHED) for version in ("-tls1_2", "-tls1_3")]
"""Which are kept by a client and shown again: as tickets, and by a name for what the server keeps."""


def prepare(home: Path) -> None:
    """Make keys, certificates, the configuration and the file that is served."""
    for name, kind in KEYS.items():
        words = f"req -x509 -nodes -days 30 -subj /CN=lab -newkey {kind}".split()
        files = ["-keyout", str(home / f"{name}.key"), "-out", str(home / f"{name}.pem")]
        subprocess.run(["openssl", *words, *files], check=True, capture_output=True)

    def server(port: int, key: str, more: str = "", how: str = " ssl") -> str:
        words = f"ssl_certificate {home}/{key}.pem; ssl_certificate_key {home}/{key}.key; " if key else ""
        return _SERVER.format(port=port, how=how, more=words + more)

    verified = f"ssl_verify_client on; ssl_client_certificate {home}/client.pem;"
    servers = [
        server(PLAIN, "", how=""),
        server(RSA, "rsa"),
        server(ECDSA, "ecdsa"),
        server(ED25519, "ed25519"),
        server(H2, "rsa", f"ssl_buffer_size {H2_BUFFER};", " ssl http2"),
        server(CLIENTS, "ecdsa", verified),
        server(CACHED, "rsa", "ssl_session_tickets off; ssl_session_cache shared:own:1m;"),
    ]
    (home / "nginx.conf").write_text(_HTTP.format(home=home, servers="".join(servers)))
    (home / "files").mkdir()
    make_file(home / "files" / "file", SIZE)


def specs(home: Path) -> list[str]:
    """What the lab serves."""
    ports = (PLAIN, RSA, ECDSA, ED25519, H2, CLIENTS, CACHED)
    return [f"{','.join(f'{port}/tcp' for port in ports)}=nginx -c {home}/nginx.conf -p ."]


def curl(home: Path, kind: Kind) -> list[str]:
    """A client of this kind, which does not try again."""
    url = f"{'http' if kind.port == PLAIN else 'https'}://{SERVICE4}:{kind.port}/{kind.path}"
    words = ["curl", "--silent", "--show-error", "--insecure", "--max-time", "60"]
    return [*words, *kind.options.format(home=home).split(), url]


class Running:
    """A client that is at work, and read by a thread of its own: a part, until it is to go on slowly, and the
    rest at the end."""

    def __init__(self, lab: Lab, argv: list[str]) -> None:
        self._process = lab.popen(CLIENT, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._on = threading.Event()
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.download = Download()
        self.received = 0
        self._thread.start()

    def _read(self) -> None:
        def progress(received: int) -> None:
            self.received = received
            if received >= PART:
                self._on.wait()
            self._hurry.wait(PAUSE_S)

        assert self._process.stdout
        self.download = receive(self._process.stdout, progress)

    def ended(self) -> bool:
        """All that was said has been read."""
        return not self._thread.is_alive()

    def go_on(self) -> None:
        """Others have begun, too."""
        self._on.set()

    def finish(self) -> str:
        """Read the rest at once; return what the client complains of."""
        self.go_on()
        self._hurry.set()
        self._thread.join()
        assert self._process.stderr
        with self._process:
            told = self._process.stderr.read().decode(errors="replace").strip()
        return told or ("" if self._process.returncode == 0 else f"status {self._process.returncode}")

    def kill(self) -> None:
        """It is not needed any more."""
        self._process.kill()
        self._on.set()
        self._hurry.set()


def session(lab: Lab, home: Path, port: int, version: str, known: bool) -> str:
    """Have a client shake hands and ask, with the session that it got before if `known`; return what it
    tells."""
    file = str(home / f"session-{port}{version}")
    words = ["openssl", "s_client", "-connect", f"{SERVICE4}:{port}", version, "-ign_eof"]
    argv = [*words, "-sess_in" if known else "-sess_out", file]
    done = lab.exec(CLIENT, argv, input="GET /hello HTTP/1.0\r\n\r\n")
    return done.stdout + done.stderr
