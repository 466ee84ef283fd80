"""Builds structs value by value, so that one error of a file does not hide the next."""

from __future__ import annotations

import difflib
import tomllib
from datetime import date, time
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from fttcp.config.error import ConfigError


def read_tables(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: not TOML: {error}"]) from error


class IncompleteError(Exception):
    """Something cannot be said of a file yet: a value that it hangs on is missing or wrong."""


class Hole:
    """Stands where a file has no good value. Whoever looks into it meets IncompleteError."""

    def _missing(self, *_: object) -> Any:
        raise IncompleteError

    __getattr__ = __eq__ = __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __iter__ = __len__ = _missing
    __str__ = __repr__ = __format__ = __hash__ = __contains__ = __getitem__ = __int__ = __index__ = _missing
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = __rfloordiv__ = _missing


HOLE = Hole()


class Reader:
    """Turns nested tables into structs and notes what is wrong with them; HOLE stands for what is."""

    def __init__(self, errors: list[str]) -> None:
        self._errors = errors

    def table(self, kind: type[Any], raw: Any, where: str) -> Any:
        """Return a struct, perhaps with holes, or HOLE; what is wrong is noted."""
        if not isinstance(raw, dict):
            self._errors.append(f"{where}: {_shown(raw)} is not a table")
            return HOLE
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        prefix = f"{where}." if where else ""
        for key in raw.keys() - fields.keys():
            near = difflib.get_close_matches(key, fields, 1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(fields)}"
            self._errors.append(f"{prefix}{key}: unknown key ({hint})")
        values = {}
        for name, field in fields.items():
            if name in raw:
                values[name] = self._value(field.type, raw[name], f"{prefix}{name}")
            elif field.required:
                self._errors.append(f"{prefix}{name}: missing (required)")
                values[name] = HOLE
        return kind(**values)

    def _value(self, kind: Any, raw: Any, where: str) -> Any:
        kind = _table_in(kind)
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self.table(kind, raw, where)
        inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        if get_origin(inner) is not list or not isinstance(raw, list):
            return self._convert(kind, raw, where)
        bounds = kind.__metadata__[0] if inner is not kind else Meta()
        least, most = bounds.min_length or 0, bounds.max_length
        if not least <= len(raw) <= (most or len(raw)):
            self._errors.append(f"{where}: {_count_complaint(len(raw), least, most)}")
            if len(raw) < least:
                return HOLE
        return [self._value(get_args(inner)[0], value, f"{where}[{i}]") for i, value in enumerate(raw)]

    def _convert(self, kind: Any, raw: Any, where: str) -> Any:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError:
            self._errors.append(f"{where}: {_complaint(kind, raw)}")
            return HOLE


def _table_in(kind: Any) -> Any:
    """`SomeStruct | None` -> SomeStruct: a table that may be absent, but is read like any other."""
    tables = [part for part in get_args(kind) if isinstance(part, type) and issubclass(part, Struct)]
    return tables[0] if get_origin(kind) in (Union, UnionType) and tables else kind


def _count_complaint(count: int, least: int, most: int | None) -> str:
    return f"{count} entries (allowed: {least}..{most or 'any number of'} entries)"


def _shown(raw: Any) -> str:
    """Say what a file has, in its own words: no Python."""
    match raw:
        case bool():
            return str(raw).lower()
        case dict():
            return f"a table ({', '.join(raw) or 'empty'})"[:80]
        case list():
            return "a list"
        case date() | time():
            return raw.isoformat()
    text = repr(raw)
    return text if len(text) <= 80 else text[:77] + "..."


def _complaint(kind: Any, raw: Any) -> str:
    """Say what is wrong with a value and what is allowed."""
    info = msgspec.inspect.type_info(kind)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    wanted = next(option for option in options if not isinstance(option, msgspec.inspect.NoneType))
    rule = "text that is not empty"
    if isinstance(wanted, msgspec.inspect.Metadata):
        rule, wanted = (wanted.extra_json_schema or {}).get("description", rule), wanted.type
    shown = _shown(raw)
    match wanted:
        case msgspec.inspect.IntType(ge=least, le=most):
            allowed = f"(allowed: {least}..{most})"
            if type(raw) is not int:
                return f"{shown} is not an integer {allowed}"
            if least is not None and raw < least:
                return f"{shown} is below {least} {allowed}"
            return f"{shown} is above {most} {allowed}"
        case msgspec.inspect.LiteralType(values=values):
            return f"{shown} is not allowed (allowed: {', '.join(map(str, values))})"
        case msgspec.inspect.StrType(min_length=least):
            rule = rule if least or wanted.pattern else "text"
            return f"{shown} is not allowed (allowed: {rule})"
        case msgspec.inspect.BoolType():
            return f"{shown} is not allowed (allowed: true, false)"
        case msgspec.inspect.ListType():
            return f"{shown} is not a list"
    return f"{shown} is not allowed"
