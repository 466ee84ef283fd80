"""Every key of the configuration files, with its default, its bounds and what it means: for people."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from fttcp.config.schema import Config, Name
from fttcp.config.witness import WitnessConfig

FILES: dict[str, type[Struct]] = {"node.toml": Config, "witness.toml": WitnessConfig}
_MEANINGS = Path(__file__).with_name("meanings")
_NAME_PATTERN = next(meta.pattern for meta in get_args(Name) if isinstance(meta, Meta))


@dataclass(frozen=True)
class Setting:
    """A key of a section, in Markdown."""

    key: str
    default: str
    allowed: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """A table of a file; ``several``: of an array of tables."""

    name: str
    several: bool
    about: str
    settings: tuple[Setting, ...]

    @property
    def heading(self) -> str:
        """The name as a file has it; '' of what stands above all tables."""
        brackets = ("[[", "]]") if self.several else ("[", "]")
        return self.name and self.name.join(brackets)


def sections(file: str) -> Iterator[Section]:
    """Yield the sections of a configuration file, in the order in which people read of them. Raises
    ValueError where schema and meanings do not have the same keys."""
    told = tomllib.loads((_MEANINGS / file).read_text(encoding="utf-8"))
    tables = {name: (several, table) for name, several, table in _tables(FILES[file], "", False)}
    if strange := tables.keys() ^ told.keys():
        raise ValueError(f"{file}: sections without keys or meanings: {', '.join(sorted(strange))}")
    for name, meanings in told.items():
        several, table = tables[name]
        about = meanings.pop("about", "")
        fields = {field.name: field for field in _keys(table)}
        if strange := fields.keys() ^ meanings.keys():
            raise ValueError(f"{file}: [{name}]: in schema or meanings only: {', '.join(sorted(strange))}")
        yield Section(name, several, about, tuple(_setting(fields[k], told) for k, told in meanings.items()))


def _setting(field: msgspec.structs.FieldInfo, told: str | dict[str, str]) -> Setting:
    said = told if isinstance(told, dict) else {"meaning": told}
    default = said.get("default") or _default(field)
    return Setting(field.name, default, said.get("allowed") or _allowed(field.type), said["meaning"])


def _tables(table: type[Struct], name: str, several: bool) -> Iterator[tuple[str, bool, type[Struct]]]:
    """Yield (name, is it an array, struct) of each table that has keys of its own."""
    if any(True for _ in _keys(table)):
        yield name, several, table
    for field in msgspec.structs.fields(table):
        for inner in _structs(field.type):
            inside = f"{name}.{field.name}" if name else field.name
            yield from _tables(inner, inside, _is_list(field.type))


def _keys(table: type[Struct]) -> Iterator[msgspec.structs.FieldInfo]:
    return (field for field in msgspec.structs.fields(table) if not _structs(field.type))


def _structs(kind: Any) -> list[type[Struct]]:
    """Every struct that a type mentions, through lists, unions and annotations."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return [kind]
    return [table for part in get_args(kind) for table in _structs(part)]


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is list or (get_origin(kind) is Annotated and _is_list(get_args(kind)[0]))


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    match field.default:
        case bool(value):
            return f"`{str(value).lower()}`"
        case int(value):
            return str(value)
        case str(value):
            return f"`{value}`"
    return "none"


def _allowed(kind: Any) -> str:
    """Say what a type allows. A text with a pattern is told by its description."""
    if get_origin(kind) in (Union, UnionType):
        return _allowed(next(part for part in get_args(kind) if part is not type(None)))
    if get_origin(kind) is Literal:
        quote = "`" if isinstance(get_args(kind)[0], str) else ""
        return ", ".join(f"{quote}{value}{quote}" for value in get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    metas = [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, Meta)]
    for meta in metas:
        if meta.ge is not None and meta.le is not None:
            return f"{meta.ge}..{meta.le}"
        if meta.pattern == _NAME_PATTERN:
            return "a name"
        if meta.description is not None:
            return meta.description
    return "text"
