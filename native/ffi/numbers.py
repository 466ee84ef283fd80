"""Enums and limits of the C headers as a Python module, fttcp/_numbers.py: so they are written once, in C."""

import re
from itertools import takewhile
from pathlib import Path

from cffi import FFI

ENUM = re.compile(r"^enum( \w+)? \{[^}]*\};", re.MULTILINE)
LIMIT = re.compile(r"^#define FTT_(\w+) +(0x[0-9a-fA-F]+|\d+)\b", re.MULTILINE)
TARGET = Path("fttcp/_numbers.py")
HEAD = '''"""Enums and limits that C and Python share, made of the headers by native/ffi/numbers.py."""

from enum import IntEnum, IntFlag
'''
PREFIXES = {"ftt_dir": "FTT_"}
"""Of enums whose names have more in common than a prefix."""


def enums_in(header: str) -> str:
    """The enums of a header, for cffi."""
    return "\n".join(match[0] for match in ENUM.finditer(header))


def _class(name: str, values: dict[str, int]) -> str:
    words = zip(*(one.split("_") for one in values), strict=False)
    common = takewhile(lambda alike: len(set(alike)) == 1, words)
    prefix = PREFIXES.get(name, "".join(f"{alike[0]}_" for alike in common))
    flags = all(value.bit_count() == 1 for value in values.values())
    title = "".join(word.title() for word in name.removeprefix("ftt_").split("_"))
    ordered = sorted(values.items(), key=lambda item: item[1])
    members = "".join(f"    {one.removeprefix(prefix)} = {value}\n" for one, value in ordered)
    kind = "IntFlag" if flags else "IntEnum"
    return f'\n\nclass {title}({kind}):\n    """Values of enum {name}."""\n\n{members}'


def module(ffi: FFI, headers: str) -> str:
    """The text of the module: what has a name in these headers, all of which ``ffi`` has been given."""
    names = re.findall(r"^enum (ftt_\w+) \{", headers, re.MULTILINE)
    limits = "".join(f"{name} = {number}\n" for name, number in LIMIT.findall(headers))
    return f"{HEAD}\n{limits}" + "".join(_class(name, ffi.typeof(f"enum {name}").relements) for name in names)


def write(ffi: FFI, headers: str) -> None:
    """Make the module anew, if it is another one."""
    text = module(ffi, headers)
    if not TARGET.exists() or TARGET.read_text() != text:
        draft = TARGET.with_suffix(".new")
        draft.write_text(text)
        draft.replace(TARGET)
