"""Builds structs value by value, so that one error of a file does not hide the next."""

from __future__ import annotations

import difflib
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct


class Reader:
    """Turns nested tables into structs and notes what is wrong with them."""

    def __init__(self, errors: list[str]) -> None:
        self._errors = errors

    def table(self, kind: type[Any], raw: Any, where: str) -> Any:
        """Return a struct, or None after having noted what is wrong."""
        if not isinstance(raw, dict):
            self._errors.append(f"{where}: {_shown(raw)} is not a table")
            return None
        before = len(self._errors)
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
        return kind(**values) if len(self._errors) == before else None

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
        return [self._value(get_args(inner)[0], value, f"{where}[{i}]") for i, value in enumerate(raw)]

    def _convert(self, kind: Any, raw: Any, where: str) -> Any:
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError:
            self._errors.append(f"{where}: {_complaint(kind, raw)}")
            return None


def _table_in(kind: Any) -> Any:
    """`SomeStruct | None` -> SomeStruct: a table that may be absent, but is read like any other."""
    tables = [part for part in get_args(kind) if isinstance(part, type) and issubclass(part, Struct)]
    return tables[0] if get_origin(kind) in (Union, UnionType) and tables else kind


def _count_complaint(count: int, least: int, most: int | None) -> str:
    return f"{count} entries (allowed: {least}..{most or 'any number of'} entries)"


def _shown(raw: Any) -> str:
    text = repr(raw) if not isinstance(raw, bool) else str(raw).lower()
    return text if len(text) <= 80 else text[:77] + "..."


def _complaint(kind: Any, raw: Any) -> str:
    """Say what is wrong with a value and what is allowed."""
    info = msgspec.inspect.type_info(kind)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    wanted = next(option for option in options if not isinstance(option, msgspec.inspect.NoneType))
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
        case msgspec.inspect.StrType(pattern=pattern):
            rule = f"text that matches {pattern}" if pattern else "text that is not empty"
            return f"{shown} is not allowed (allowed: {rule})"
        case msgspec.inspect.BoolType():
            return f"{shown} is not allowed (allowed: true, false)"
        case msgspec.inspect.ListType():
            return f"{shown} is not a list"
    return f"{shown} is not allowed"
