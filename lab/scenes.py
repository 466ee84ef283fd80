"""What a demo shows: an unmodified server, and an unmodified client that is given a file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import keys
from lab.download import NGINX_COMMAND, NGINX_CONFIG, make_site
from lab.errors import LabError
from lab.network import CLIENT, SERVICE4

PAYLOAD = "payload"
IN_STEP = ("lockstep=connection",)
"""Of a group whose server draws random numbers; docs/lockstep.md."""
_KEYS = Path("/srv/demo")
"""Each host of the lab has a /srv of its own."""
_TLS = "listen 443 ssl;\n        ssl_certificate tls.pem;\n        ssl_certificate_key tls.key;"


@dataclass(frozen=True)
class Scene:
    """A server on both nodes, and its client."""

    server: str
    port: int
    settings: tuple[str, ...]
    prepare: Callable[[Path, Path], None]
    """Makes what the server needs in a node's directory, the second argument; the first one is the lab's."""
    serve: str
    """The server's command."""
    client: Callable[[int], list[str]]
    """The client's command, which gives up after so many seconds."""


def _curl(*asked: str) -> Callable[[int], list[str]]:
    return lambda limit_s: ["curl", "-sS", "--max-time", str(limit_s), *asked]


def _need(program: str, package: str) -> None:
    if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
        raise LabError(f"{program}: no such program: install {package}")


def _site(common: Path, node: Path) -> None:
    make_site(node / "root", common / PAYLOAD)


def _tls_site(common: Path, node: Path) -> None:
    root = node / "root"
    make_site(root, common / PAYLOAD)
    (root / "tls.key").write_text(keys.TLS_KEY)
    (root / "tls.pem").write_text(keys.TLS_CERTIFICATE)
    (root / "nginx.conf").write_text(NGINX_CONFIG.replace("listen 80;", _TLS).replace("listen [::]:80;", ""))


def _ssh_files(common: Path, node: Path) -> None:
    """The same key for both nodes, in a place of one name: sshd tells clients where authorized keys are."""
    place, client = node / _KEYS.relative_to("/"), common / CLIENT / _KEYS.relative_to("/")
    if not client.exists():
        _need("sshd", "openssh-server")
        _need("ssh", "openssh-client")
        client.mkdir()
        keys.write_private(client / "user", keys.SSH_USER_KEY)
    place.mkdir()
    keys.write_private(place / "host", keys.SSH_HOST_KEY)
    (place / "user.pub").write_text(f"{keys.SSH_USER}\n")
    (place / PAYLOAD).hardlink_to(common / PAYLOAD)


def _ssh(limit_s: int) -> list[str]:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
    words = [word for option in options for word in ("-o", option)]
    words += ["-F", "none", "-i", str(_KEYS / "user"), f"root@{SERVICE4}"]
    return ["timeout", str(limit_s), "ssh", *words, f"cat {_KEYS / PAYLOAD}"]


_SSHD = (
    "sh -c 'mkdir -p /run/sshd && chmod 755 /run/sshd && exec /usr/sbin/sshd -D -e -f /dev/null "
    f"-h {_KEYS}/host -o AuthorizedKeysFile={_KEYS}/user.pub -o PermitRootLogin=yes -o StrictModes=no "
    "-o UsePAM=no -o PidFile=none'"
)

SCENES = {
    "http": Scene("nginx", 80, (), _site, NGINX_COMMAND, _curl(f"http://{SERVICE4}/{PAYLOAD}")),
    "tls": Scene(
        "nginx, which ends TLS,",
        443,
        IN_STEP,
        _tls_site,
        NGINX_COMMAND,
        _curl("-k", f"https://{SERVICE4}/{PAYLOAD}"),
    ),
    "ssh": Scene("OpenSSH", 22, IN_STEP, _ssh_files, _SSHD, _ssh),
}
