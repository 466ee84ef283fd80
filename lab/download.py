"""A download that is watched: bytes, hash, and when they arrived. Needs the standard library only."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO

CHUNK = 65_536
NGINX_CONFIG = """\
user root;
worker_processes 1;
error_log stderr;
pid /run/nginx.pid;
events { worker_connections 1024; }
http {
    access_log off;
    sendfile on;
    server {
        listen 80;
        listen [::]:80;
        root html;
    }
}
"""
"""For the stock nginx, started in its directory; the files to serve are in html/ there."""

NGINX_COMMAND = "nginx -p . -c nginx.conf -g 'daemon off;'"


@dataclass
class Download:
    """What arrived: `received` bytes with hash `sha256`, in chunks at `arrivals_s` (CLOCK_MONOTONIC)."""

    received: int = 0
    sha256: str = ""
    arrivals_s: list[float] = field(default_factory=list)

    def gap_ms(self, since_s: float) -> float | None:
        """The longest silence between two chunks that ended after `since_s`, in ms; None without one."""
        silences = [later - earlier for earlier, later in pairwise(self.arrivals_s) if later >= since_s]
        return round(max(silences) * 1000, 1) if silences else None


def receive(
    stream: IO[bytes], on_progress: Callable[[int], object], kept: bytearray | None = None
) -> Download:
    """Read `stream` to its end; `on_progress` is told the number of bytes so far after each chunk. What comes
    is added to `kept`."""
    download, digest = Download(), hashlib.sha256()
    while chunk := os.read(stream.fileno(), CHUNK):
        download.arrivals_s.append(time.monotonic())
        digest.update(chunk)
        download.received += len(chunk)
        if kept is not None:
            kept += chunk
        on_progress(download.received)
    download.sha256 = digest.hexdigest()
    return download


def make_file(path: Path, size: int, seed: int = 1) -> str:
    """Write `size` pseudo-random bytes to `path`, the same ones for the same seed; returns their SHA-256."""
    numbers, digest = random.Random(seed), hashlib.sha256()
    with path.open("wb") as handle:
        for start in range(0, size, 1 << 20):
            block = numbers.randbytes(min(1 << 20, size - start))
            digest.update(block)
            handle.write(block)
    return digest.hexdigest()


def make_site(root: Path, payload: Path) -> None:
    """Put the nginx configuration and `payload` (as html/payload, the same file) into `root`."""
    (root / "html").mkdir()
    (root / "nginx.conf").write_text(NGINX_CONFIG)
    (root / "html" / "payload").hardlink_to(payload)
