"""Questions to a node daemon over its control socket: one JSON line there, one back."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from lab.errors import LabError


class NoAnswerError(LabError):
    """The daemon did not answer: it does not run, is stopped, or went away in mid-answer."""


def ask(path: Path, request: dict[str, Any], timeout_s: float = 0.5) -> dict[str, Any]:
    """Send `request` to the daemon whose control socket is `path`, and return its answer.

    Raises NoAnswerError after `timeout_s` seconds, or at once when nobody listens.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout_s)
        try:
            channel.connect(str(path))
            channel.sendall(json.dumps(request).encode() + b"\n")
            with channel.makefile("rb") as reader:
                line = reader.readline()
        except OSError as error:
            raise NoAnswerError(f"{path}: the daemon does not answer ({error.strerror or error})") from error
    if not line.endswith(b"\n"):
        raise NoAnswerError(f"{path}: the daemon went away before it answered")
    answer = json.loads(line)
    if not isinstance(answer, dict):
        raise LabError(f"{path}: the answer to {request} is no JSON object: {line!r}")
    return answer
