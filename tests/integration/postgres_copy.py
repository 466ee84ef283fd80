"""PostgreSQL in the working directory, begun from a copy of a cluster: postgres_copy.py CLUSTER PORT.

`cluster` makes one, `postmaster` says how it is run.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path


def program(name: str) -> Path:
    """Where the newest PostgreSQL has it."""
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))


def _as_postgres(argv: list[str]) -> list[str]:
    user = pwd.getpwnam("postgres")
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--", *argv]


def cluster(parent: Path) -> Path:
    """Make a cluster in a directory that all can enter. It lets everybody in, and is closed: to be copied."""
    made = parent / "cluster"
    made.mkdir(mode=0o700)
    shutil.chown(made, "postgres", "postgres")
    make = [str(program("initdb")), "--no-sync", "--auth=trust", "--username=test", "-D", str(made)]
    subprocess.run(_as_postgres(make), check=True, stdout=subprocess.DEVNULL)
    with (made / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all trust\n")
    return made


def postmaster(directory: Path, port: int) -> list[str]:
    """The server of a cluster, which leaves nothing on the host when it is killed."""
    settings = {
        "listen_addresses": "*", "port": port, "fsync": "off", "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",
    }  # fmt: skip
    words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    return _as_postgres([str(program("postgres")), "-D", str(directory), *words])


def main() -> None:
    """Copy it, if that was not done before, and become the postmaster."""
    here = Path("postgres").absolute()
    if not here.exists():
        subprocess.run(["cp", "-a", sys.argv[1], here], check=True)
    argv = postmaster(here, int(sys.argv[2]))
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main()
