"""cffi build (API mode) of `fttcp._ftt` from native/engine, whose face is engine/api/{abi,core_api}.h.

Run by setup.py, with the project's root as working directory. It also makes fttcp/_numbers.py.
"""

import re
import runpy
from pathlib import Path

from cffi import FFI

ROOT = Path("native")
API = ("core/types.h", "engine/api/abi.h", "engine/planes/python/hooks.h", "engine/api/core_api.h")
SHARED = (
    *("core/gate.h", "core/history.h", "core/log.h", "core/packet/parse.h", "core/records/record.h"),
    *("core/tcp/state.h", "core/tcp/accept.h", "core/compare/verify.h", "core/lockstep/calls.h"),
)
"""Headers that cffi cannot read, but for their enums."""
CALLED = """
/* fttcp/planes/programmable.py */
extern "Python" int64_t ftt_take(void *of, uint32_t lane, uint32_t mode, void *basket);
extern "Python" void ftt_give(void *of, const struct ftt_fate *verdicts, uint32_t n);
extern "Python" bool ftt_hear(void *of, uint8_t from, const uint8_t *record, size_t len);
extern "Python" bool ftt_tell(void *of, uint8_t to, const uint8_t *record, size_t len);
"""
SOURCES = sorted(str(path) for path in (ROOT / "engine").rglob("*.c") if "model" not in path.parts)
HEADERS = sorted(map(str, ROOT.rglob("*.h")))
DEFINE_NUMBER = re.compile(r"#define\s+\w+\s+(0x[0-9a-fA-F]+|\d+|\.\.\.)\s*$")


def declarations(header: str) -> str:
    """The header as cffi can read it: of the preprocessor lines only `#define NAME number` stay."""
    return "\n".join(
        line
        for line in header.splitlines()
        if not line.lstrip().startswith("#") or DEFINE_NUMBER.match(line.strip())
    )


if not SOURCES:
    raise SystemExit("native/engine holds no C source: the checkout is incomplete, fetch it again")

numbers = runpy.run_path(str(ROOT / "ffi/numbers.py"))
texts = {header: (ROOT / header).read_text() for header in (*API, *SHARED)}
shared = {header: numbers["enums_in"](texts[header]) for header in SHARED}

ffi = FFI()
ffi.cdef("\n".join(shared.values()))
for header in API:
    ffi.cdef(declarations(texts[header]))
numbers["write"](ffi, "\n".join([*(texts[header] for header in API), *shared.values()]))
ffi.cdef(CALLED)
ffi.set_source(
    "fttcp._ftt",
    "".join(f'#include "{header}"\n' for header in API),
    sources=SOURCES,
    depends=HEADERS,
    include_dirs=[str(ROOT)],
    libraries=["mnl", "sodium", "pthread"],
    extra_compile_args=["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-fvisibility=hidden"],
)
