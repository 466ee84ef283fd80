"""The documentation and the manual pages made from it tell every key of the configuration files, with its
default and its bounds as the schema has them."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest
from msgspec import Struct

from fttcp.config import Config
from fttcp.config.witness import WitnessConfig

PACKAGING = Path(__file__).parents[2] / "packaging"
HEADING = re.compile(r"^#+ .*?`\[+([a-z_.]+)\]+`")
SHORT_FORM = {"peer.link": "link"}


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, PACKAGING / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


markdown_man = load("markdown_man")
extras = load("extras")


def tables_in(kind: Any) -> list[type[Struct]]:
    """Every struct that a type mentions, through lists, unions and annotations."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return [kind]
    return [table for part in get_args(kind) for table in tables_in(part)]


def leaves(table: type[Struct], where: str = "") -> Iterator[tuple[str, str, msgspec.structs.FieldInfo]]:
    """(section, key, field) of each key of a file that is no table."""
    for field in msgspec.structs.fields(table):
        inner = tables_in(field.type)
        if inner:
            yield from leaves(inner[0], f"{where}.{field.name}" if where else field.name)
        else:
            yield where, field.name, field


def told(page: str) -> dict[tuple[str, str], dict[str, str]]:
    """(section, key) -> what the page's table says of it."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    section, block = "", ""
    for line in [*extras.file_pages()[page][1].splitlines(), "## `[end]`"]:
        heading = HEADING.match(line)
        if heading or (line.startswith("#") and not line.startswith("# ")):
            for titles, cells in markdown_man.rows(block):
                names = [name.strip("`") for name in re.findall(r"`[a-z_0-9.]+`", cells[0])]
                for i, name in enumerate(names):
                    row = dict(zip(titles[1:], cells[1:], strict=True))
                    defaults = row.get("default", "").split(", ")
                    row["default"] = defaults[i] if len(defaults) == len(names) else row.get("default", "")
                    place, _, key = name.rpartition(".")
                    found[place or section, key] = row
            block = ""
            section = heading[1] if heading else section
        else:
            block += line + "\n"
    return found


def bounds(kind: Any) -> tuple[int, int] | None:
    info = msgspec.inspect.type_info(kind)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    for option in options:
        if isinstance(option, msgspec.inspect.IntType) and option.ge is not None and option.le is not None:
            return option.ge, option.le
    return None


CASES = [
    *(("node.toml", *leaf) for leaf in leaves(Config)),
    *(("witness.toml", *leaf) for leaf in leaves(WitnessConfig)),
]


@pytest.mark.parametrize(
    ("page", "section", "key", "field"), CASES, ids=[".".join(case[:3]) for case in CASES]
)
def test_the_page_tells_a_key_as_the_schema_has_it(
    page: str, section: str, key: str, field: msgspec.structs.FieldInfo
) -> None:
    row = told(page).get((SHORT_FORM.get(section, section), key))
    assert row is not None, f"no row for {section}.{key} in the tables that make {page}(5)"
    default = row["default"].strip("`")
    if section == "peer.link":
        assert default == "", row  # a table without that column: each transport has its own
    elif field.required:
        assert default in ("required", ""), row
    elif isinstance(field.default, bool):
        assert default == str(field.default).lower(), row
    elif isinstance(field.default, str | int):
        assert default == str(field.default), row
    limits = bounds(field.type)
    if limits is not None:
        assert "{}..{}".format(*limits) in row["allowed"], row


def test_the_manual_pages_have_every_key(tmp_path: Path) -> None:
    extras.write_file_pages(tmp_path)
    for page in ("node.toml", "witness.toml"):
        text = (tmp_path / f"share/man/man5/{page}.5").read_text().replace("\\-", "-")
        terms = " ".join(re.findall(r"^\.TP\n(.*)", text, re.M))
        keys = [case[2] for case in CASES if case[0] == page]
        missing = [key for key in keys if not re.search(rf"(\\fB|\.){key}\\fR", terms)]
        assert not missing, page


def test_a_key_that_the_pages_lack_is_found() -> None:
    assert ("group.timing", "no_such_key") not in told("node.toml")
    with pytest.raises(LookupError):
        markdown_man.section("# One\n", "## Two")
