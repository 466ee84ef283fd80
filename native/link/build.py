"""Compiles the lab's link, `fttcp-link`: python native/link/build.py TARGET

Run by setup.py and make, with the project's root as working directory.
"""

import os
import subprocess
import sys
from pathlib import Path

SOURCES = ("native/link/main.c", "native/link/wire.c")
NAME = "fttcp-link"


def compile_link(target: Path) -> None:
    """Compile it into the file ``target``."""
    draft = target.with_suffix(".new")
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
    subprocess.run([*command, "-o", str(draft), *SOURCES], check=True)
    draft.replace(target)


if __name__ == "__main__":
    compile_link(Path(sys.argv[1]))
