"""cffi build (API mode) of `fttcp._ftt` from native/include/fttcp/{abi,core_api}.h and native/src/*.c.

Run by setup.py, with the project's root as working directory.
"""

import re
from pathlib import Path

from cffi import FFI

INCLUDE = Path("native/include")
API = ("fttcp/abi.h", "fttcp/core_api.h")
SOURCES = sorted(map(str, Path("native/src").glob("*.c")))
HEADERS = sorted(map(str, Path("native").rglob("*.h")))
DEFINE_NUMBER = re.compile(r"#define\s+\w+\s+(0x[0-9a-fA-F]+|\d+|\.\.\.)\s*$")


def declarations(header: str) -> str:
    """The header as cffi can read it: of the preprocessor lines only `#define NAME number` stay."""
    return "\n".join(
        line
        for line in header.splitlines()
        if not line.lstrip().startswith("#") or DEFINE_NUMBER.match(line.strip())
    )


if not SOURCES:
    raise SystemExit("native/src holds no C source: the checkout is incomplete, fetch it again")

ffi = FFI()
for header in API:
    ffi.cdef(declarations((INCLUDE / header).read_text()))
ffi.set_source(
    "fttcp._ftt",
    "".join(f'#include "{header}"\n' for header in API),
    sources=SOURCES,
    depends=HEADERS,
    include_dirs=[str(INCLUDE)],
    libraries=["mnl", "sodium", "pthread"],
    extra_compile_args=["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fvisibility=hidden"],
)
