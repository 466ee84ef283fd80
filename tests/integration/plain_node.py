"""A stand-in for ``fttcp node`` that protects nothing, to test what the lab does with daemons.

It starts the group's commands as the real one does, and answers ``status``: alpha is primary, beta backup. A
command "exit" ends it at once. Usage: plain_node.py node --config FILE.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Serve status until killed."""
    config = tomllib.loads(Path(sys.argv[3]).read_text())
    name, (group,) = config["node"]["name"], config["group"]
    if "exit" in group["commands"]:
        sys.exit("plain node: told to exit")
    for command in group["commands"]:
        subprocess.Popen(shlex.split(command), start_new_session=True)
    status = {
        "name": group["name"],
        "role": "primary" if name == "alpha" else "backup",
        "epoch": 1,
        "mode": "paired",
        "synced": True,
        "takeovers": [],
    }
    run_dir = Path(config["node"]["run_dir"])
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "control.sock").unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(run_dir / "control.sock"))
        listener.listen()
        print(f"plain node {name} is up", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as reader:
                reader.readline()
                answer = {"node": name, "alive": True, "groups": [status]}
                try:
                    connection.sendall(json.dumps(answer).encode() + b"\n")
                except BrokenPipeError:
                    print("plain node: the asker did not wait for the answer", flush=True)


if __name__ == "__main__":
    main()
