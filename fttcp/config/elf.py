"""What an ELF file says of itself: as much of it as tells whether a library can be put before its own.

Only the form of this machine is read further than its header: of any other all that counts is that it is
another one.
"""

from __future__ import annotations

import mmap
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType

_MAGIC = b"\x7fELF"
_CLASS64 = 2
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_PF_X = 1
_DT_NEEDED, _DT_RPATH, _DT_RUNPATH = 1, 15, 29
_SHT_RELA, _SHT_DYNAMIC, _SHT_NOBITS, _SHT_DYNSYM = 4, 6, 8, 11


class ElfError(ValueError):
    """The file is no ELF file, or a broken one."""


@dataclass(frozen=True)
class Form:
    """For which machines a file is: 32 or 64 bits, byte order, and the number of the processor's kind."""

    bits: int
    order: str
    machine: int


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    offset: int
    size: int
    link: int


@dataclass
class Elf:
    """An open ELF file, for a `with` block. What is asked of it raises ElfError if it is broken."""

    path: Path
    form: Form = field(init=False)

    def __post_init__(self) -> None:
        with self.path.open("rb") as file:
            head = file.read(20)
            if len(head) < 20 or head[:4] != _MAGIC or head[4] not in (1, 2) or head[5] not in (1, 2):
                raise ElfError(f"{self.path} is no ELF file")
            order = "<" if head[5] == 1 else ">"
            self.form = Form(32 * head[4], order, struct.unpack(f"{order}H", head[18:20])[0])
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __enter__(self) -> Elf:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._bytes.close()

    @property
    def interpreter(self) -> str:
        """The loader that the file asks for; "" if it is static."""
        for kind, _, offset, size in self._segments:
            if kind == _PT_INTERP:
                return self._part(offset, size).rstrip(b"\0").decode(errors="replace")
        return ""

    @cached_property
    def section_names(self) -> frozenset[str]:
        """The names of its sections; none if they were stripped."""
        return frozenset(section.name for section in self._sections)

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The libraries that it is linked with."""
        return tuple(self._dynamic_texts(_DT_NEEDED))

    @cached_property
    def search_path(self) -> tuple[str, ...]:
        """Where it has its libraries looked for before the usual places; may contain $ORIGIN."""
        texts = [*self._dynamic_texts(_DT_RPATH), *self._dynamic_texts(_DT_RUNPATH)]
        return tuple(entry for text in texts for entry in text.split(":") if entry)

    @cached_property
    def defined(self) -> frozenset[str]:
        """The dynamic symbols that it has itself."""
        return frozenset(name for name, is_own in self._symbols if is_own and name)

    @cached_property
    def looked_up(self) -> frozenset[str]:
        """The dynamic symbols for which its code asks the loader, so that another's may be put before."""
        found = set()
        symbols = self._symbols
        for section in self._sections:
            if section.kind == _SHT_RELA:
                entry = struct.Struct(f"{self.form.order}QQq")
                data = self._part(section.offset, section.size - section.size % entry.size)
                numbers = (info >> 32 for _, info, _ in entry.iter_unpack(data))
                found |= {symbols[number][0] for number in numbers if 0 < number < len(symbols)}
        return frozenset(found)

    def says(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether the pattern is anywhere in the file."""
        return pattern.search(self._bytes) is not None

    def runs(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether the pattern is in what is executed."""
        return any(
            pattern.search(self._bytes, offset, offset + size) is not None
            for kind, flags, offset, size in self._segments
            if kind == _PT_LOAD and flags & _PF_X
        )

    # ---- tables

    def _part(self, offset: int, size: int) -> bytes:
        if offset < 0 or size < 0 or offset + size > len(self._bytes):
            raise ElfError(f"{self.path} is broken: a table lies outside of the file")
        return self._bytes[offset : offset + size]

    def _fields(self, form: str, offset: int) -> tuple[int, ...]:
        form = self.form.order + form
        return struct.unpack(form, self._part(offset, struct.calcsize(form)))

    @cached_property
    def _header(self) -> tuple[int, ...]:
        if self.form.bits != 32 * _CLASS64:
            raise ElfError(f"{self.path} has {self.form.bits} bits: only its header can be read")
        return self._fields("QQQIHHHHHH", 24)

    @cached_property
    def _segments(self) -> list[tuple[int, int, int, int]]:
        """Kind, flags, offset and size in the file."""
        _, start, _, _, _, size, count, *_ = self._header
        found = []
        for number in range(count):
            kind, flags, offset, _, _, length = self._fields("IIQQQQ", start + number * size)
            found.append((kind, flags, offset, length))
        return found

    @cached_property
    def _sections(self) -> list[_Section]:
        _, _, start, _, _, _, _, size, count, names_at = self._header
        raw = [self._fields("IIQQQQII", start + number * size) for number in range(count if start else 0)]
        if not raw or names_at >= len(raw):
            return []
        names = self._part(raw[names_at][4], raw[names_at][5])
        return [
            _Section(_text(names, name), kind, offset, 0 if kind == _SHT_NOBITS else length, link)
            for name, kind, _, _, offset, length, link, _ in raw
        ]

    def _table(self, kind: int) -> tuple[bytes, bytes]:
        """The first section of a kind, and the texts that belong to it; empty ones if there is none."""
        for section in self._sections:
            if section.kind == kind:
                if section.link >= len(self._sections):
                    raise ElfError(f"{self.path} is broken: a table without its texts")
                texts = self._sections[section.link]
                return self._part(section.offset, section.size), self._part(texts.offset, texts.size)
        return b"", b""

    def _dynamic_texts(self, wanted: int) -> Iterator[str]:
        data, texts = self._table(_SHT_DYNAMIC)
        for tag, value in struct.iter_unpack(f"{self.form.order}qQ", data[: len(data) // 16 * 16]):
            if tag == wanted:
                yield _text(texts, value)

    @cached_property
    def _symbols(self) -> list[tuple[str, bool]]:
        """Of each dynamic symbol the name, and whether it is defined here."""
        data, texts = self._table(_SHT_DYNSYM)
        entries = struct.iter_unpack(f"{self.form.order}IBBHQQ", data[: len(data) // 24 * 24])
        return [(_text(texts, name), section != 0) for name, _, _, section, _, _ in entries]


def _text(texts: bytes, start: int) -> str:
    return texts[start : texts.find(b"\0", start)].decode(errors="replace")


def own() -> Elf:
    """The program that runs now."""
    return Elf(Path(sys.executable).resolve())
