"""Compiles the library that is loaded into servers, `libfttcp-shim.so`: python native/shim/build.py TARGET

Run by setup.py and make, with the project's root as working directory.
"""

import os
import subprocess
import sys
from pathlib import Path

PARTS = ("life", "who", "address", "draw", "time", "pids", "records", "turns", "sleep")
SOURCES = tuple(f"native/shim/{name}.c" for name in PARTS)
NAME = "libfttcp-shim.so"


def compile_shim(target: Path) -> None:
    """Compile it into the file ``target``."""
    draft = target.with_suffix(".new")
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]
    command += ["-fPIC", "-shared", "-fvisibility=hidden", "-Inative", "-Wl,-z,defs,-z,relro,-z,now"]
    command += [f"-Wl,-soname,{NAME}", "-o", str(draft), *SOURCES, "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    draft.replace(target)  # servers that have the old one mapped go on


if __name__ == "__main__":
    compile_shim(Path(sys.argv[1]))
