"""Compiles the measuring client, `fttcp-client`: python native/client/build.py TARGET

It is static, so that it runs on any Linux machine of this kind. Run by setup.py and make, with the project's
root as working directory.
"""

import os
import subprocess
import sys
from pathlib import Path

SOURCES = tuple(f"native/client/{name}.c" for name in ("main", "measure", "report", "server"))
NAME = "fttcp-client"


def compile_client(target: Path) -> None:
    """Compile it into the file ``target``."""
    draft = target.with_suffix(".new")
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run([*command, "-o", str(draft), *SOURCES], check=True)
    draft.replace(target)


if __name__ == "__main__":
    compile_client(Path(sys.argv[1]))
