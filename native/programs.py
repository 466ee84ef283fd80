"""Compiles what is beside the extension: python native/programs.py TARGET, named as one of those below.

Run by setup.py and make, with the project's root as working directory.
"""

import os
import subprocess
import sys
from pathlib import Path

_SHIM = "libfttcp-shim.so"
PROGRAMS = {
    # the library that is loaded into servers
    _SHIM: [
        *("-g", "-fPIC", "-shared", "-fvisibility=hidden", "-Inative", "-Wl,-z,defs,-z,relro,-z,now"),
        *(f"-Wl,-soname,{_SHIM}", *sorted(map(str, Path("native/shim").glob("*.c"))), "-ldl", "-lpthread"),
    ],
    # the measuring client; static, so that it runs on any Linux machine of this kind
    "fttcp-client": [
        "-static",
        *(f"native/client/{part}.c" for part in ("main", "measure", "report", "server")),
    ],
    # a worker without a kernel, for `fttcp explain`; its loop is not run, so what only that calls is left out
    "fttcp-replay": [
        *("-Inative", "-fms-extensions", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"),
        *("native/replay/replay.c", "native/engine/planes/model/plane_model.c", "native/engine/life.c"),
        *("native/engine/channel/crc32c.c", "native/engine/history/file.c", "native/engine/spool/spool.c"),
        *sorted(map(str, Path("native/engine/stored").glob("*.c"))),
        *("native/engine/api/observe.c", "native/engine/worker_packets.c"),
        *("native/engine/planes/python/python.c", *sorted(map(str, Path("native/engine/flows").glob("*.c")))),
        *("-lsodium", "-lpthread"),
    ],
    # the lab's link
    "fttcp-link": ["-pthread", "native/link/main.c", "native/link/wire.c"],
}


def compile_program(target: Path) -> None:
    """Compile the one that ``target`` is named after into that file."""
    draft = target.with_suffix(".new")
    command = [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(draft), *PROGRAMS[target.name]], check=True)
    draft.replace(target)  # who has the old one mapped goes on


if __name__ == "__main__":
    compile_program(Path(sys.argv[1]))
