"""What a demo shows: an unmodified server, and an unmodified client that is given a file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.download import NGINX_COMMAND, NGINX_CONFIG, make_site
from lab.errors import LabError
from lab.network import SERVICE4

PAYLOAD = "payload"
IN_STEP = ("lockstep=connection",)
"""Of a group whose server draws random numbers; docs/lockstep.md."""
_TLS = "listen 443 ssl;\n        ssl_certificate tls.pem;\n        ssl_certificate_key tls.key;"


@dataclass(frozen=True)
class Scene:
    """A server on both nodes, and its client."""

    server: str
    port: int
    settings: tuple[str, ...]
    prepare: Callable[[Path, Path], None]
    """Makes what the server needs in its working directory; the first argument is common to both nodes."""
    serve: str
    """The server's command."""
    curl: tuple[str, ...]
    """What the client asks for, and how."""


def _site(common: Path, root: Path) -> None:
    make_site(root, common / PAYLOAD)


def _tls_site(common: Path, root: Path) -> None:
    key, certificate = common / "tls.key", common / "tls.pem"
    if not certificate.exists():
        if shutil.which("openssl") is None:
            raise LabError("openssl: no such program: install it")
        words = [
            "openssl",
            "req",
            "-x509",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=demo",
            "-newkey",
            "rsa:2048",
        ]
        files = ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run([*words, *files], check=True, capture_output=True)
    make_site(root, common / PAYLOAD)
    for file in (key, certificate):
        (root / file.name).write_bytes(file.read_bytes())
    (root / "nginx.conf").write_text(NGINX_CONFIG.replace("listen 80;", _TLS).replace("listen [::]:80;", ""))


SCENES = {
    "http": Scene("nginx", 80, (), _site, NGINX_COMMAND, (f"http://{SERVICE4}/{PAYLOAD}",)),
    "tls": Scene(
        "nginx, which ends TLS,",
        443,
        IN_STEP,
        _tls_site,
        NGINX_COMMAND,
        ("-k", f"https://{SERVICE4}/{PAYLOAD}"),
    ),
}
