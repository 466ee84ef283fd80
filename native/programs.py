"""Compiles what is beside the extension: python native/programs.py TARGET, named as one of those below.

Run by setup.py and make, with the project's root as working directory.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def _loaded(name: str, folder: str) -> list[str]:
    """A library that is loaded into servers."""
    words = ["-g", "-fPIC", "-shared", "-fvisibility=hidden", "-Inative", "-Wl,-z,defs,-z,relro,-z,now"]
    sources = sorted(map(str, Path(folder).glob("*.c")))
    return [*words, f"-Wl,-soname,{name}", *sources, "-ldl", "-lpthread"]


PROGRAMS = {
    # the libraries that are loaded into servers: lock step by connection, and by calls
    "libfttcp-shim.so": _loaded("libfttcp-shim.so", "native/shim"),
    "libfttcp-calls.so": _loaded("libfttcp-calls.so", "native/calls"),
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
        *sorted(
            map(str, [*Path("native/engine/stored").glob("*.c"), *Path("native/engine/calls").glob("*.c")])
        ),
        "native/engine/shared_file.c",
        *("native/engine/api/observe.c", "native/engine/worker_packets.c"),
        *("native/engine/planes/python/python.c", *sorted(map(str, Path("native/engine/flows").glob("*.c")))),
        *("-lsodium", "-lpthread"),
    ],
    # the lab's link
    "fttcp-link": ["-pthread", "native/link/main.c", "native/link/wire.c"],
    # what loads programs into the kernel
    "fttcp-bpf": ["-Inative", "native/bpf/main.c", "-lbpf"],
}
_FOR_KERNELS = ["-g", "-target", "bpf", "-mcpu=v3", "-ffreestanding", "-Inative", "-c"]  # BTF is made of -g
OBJECTS = {
    # programs for the kernel
    "fttcp-decide.bpf.o": [*_FOR_KERNELS, "native/bpf/decide.bpf.c"],
    "fttcp-follow.bpf.o": [*_FOR_KERNELS, "native/bpf/follow.bpf.c"],
    "fttcp-forward.bpf.o": [*_FOR_KERNELS, "native/bpf/forward.bpf.c"],
    "fttcp-lead.bpf.o": [*_FOR_KERNELS, "native/bpf/lead.bpf.c"],
}
BESIDE = PROGRAMS | OBJECTS
"""All that is compiled beside the extension."""


def _system_headers() -> list[str]:
    """Where asm/types.h is: for the kernel as a target, clang does not look there."""
    kind = sysconfig.get_config_var("MULTIARCH")
    return [f"-I/usr/include/{kind}"] if kind else []


def compile_program(target: Path) -> None:
    """Compile the one that ``target`` is named after into that file."""
    draft = target.with_suffix(".new")
    compiler = ["clang", *_system_headers()] if target.name in OBJECTS else [os.environ.get("CC", "cc")]
    command = [*compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([*command, "-o", str(draft), *BESIDE[target.name]], check=True)
    draft.replace(target)  # who has the old one mapped goes on


if __name__ == "__main__":
    compile_program(Path(sys.argv[1]))
