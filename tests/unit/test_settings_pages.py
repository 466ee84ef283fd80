"""The documentation and the manual pages made from it tell every key of the configuration files, with its
default and its bounds as the schema has them."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import msgspec
import pytest
from click.testing import CliRunner
from msgspec import Struct

from fttcp._native import ffi
from fttcp.cli.main import main
from fttcp.config import Config, settings
from fttcp.config.witness import WitnessConfig
from fttcp.config.words import EVENTS, of_connections, of_counters, of_status
from fttcp.ownership.model import Cause
from fttcp.planes.base import Protection, Reason, Unrenewable
from scripts import draw_meanings

PACKAGING = Path(__file__).parents[2] / "packaging"
HEADING = re.compile(r"^#+ .*?`\[+([a-z0-9_.]+)\]+`")


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
                if titles == ["key", "default", "allowed", "live", "meaning"]:
                    found[section, cells[0].strip("`")] = dict(zip(titles[1:], cells[1:], strict=True))
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
    row = told(page).get((section, key))
    assert row is not None, f"no row for {section}.{key} in the tables that make {page}(5)"
    default = row["default"].strip("`")
    if field.required:
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


@pytest.mark.parametrize("name", draw_meanings.pages())
def test_the_page_is_the_one_that_is_drawn(name: str) -> None:
    there = (draw_meanings.DOCS / name).read_text()
    assert there == draw_meanings.pages()[name], "run .venv/bin/python scripts/draw_meanings.py"


def test_every_word_of_connections_is_told() -> None:
    told = of_connections()
    for field, kind in (("protection", Protection), ("reason", Reason), ("unrenewable", Unrenewable)):
        words = {one.name.lower().replace("_", "-") for one in kind} - {"none", "renewable"}
        assert told[field].keys() == words
    output = CliRunner().invoke(main, ["connections", "--words"]).output
    assert "  log-gap: its beginning, or something later, was not seen here\n" in output


def test_every_counter_is_told() -> None:
    told = [name for words in of_counters().values() for name in words]
    own = [name for name in told if name.startswith("callback_")]
    assert sorted(told) == sorted({*(name for name, _ in ffi.typeof("struct ftt_counters").fields), *own})
    output = CliRunner().invoke(main, ["status", "--counters"]).output
    assert "  drop_lease: kept back for want of a lease\n" in output


def test_every_cause_of_a_takeover_is_told() -> None:
    assert of_status()["cause of a takeover"].keys() == {cause.value for cause in Cause}
    output = CliRunner().invoke(main, ["status", "--words"]).output
    assert "  server-died: of the primary\n" in output


def test_every_kind_of_event_is_told() -> None:
    lines = CliRunner().invoke(main, ["events", "--kinds"]).output.splitlines()
    assert len(lines) == len(EVENTS) and "carrier: the service interface lost or got it" in lines


def test_a_key_without_a_meaning_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "witness.toml"
    whole = (Path(settings.__file__).parent / "meanings/witness.toml").read_text()
    monkeypatch.setattr(settings, "_MEANINGS", tmp_path)
    for part, word in (("data_file =", "data_file"), ('["cluster"]', "cluster")):
        file.write_text(whole.replace(part, part.replace("a", "o").replace("c", "k")))
        with pytest.raises(ValueError, match=word):
            list(settings.sections("witness.toml"))
    file.write_text(whole + 'no_such_key = "of no use"\n')
    with pytest.raises(ValueError, match="no_such_key"):
        list(settings.sections("witness.toml"))


def test_a_node_tells_what_a_key_means() -> None:
    run = CliRunner().invoke(main, ["settings", "max_held"])
    assert run.exit_code == 0
    assert run.output.splitlines()[:2] == [
        "group.limits.max_held (node.toml)",
        "  default 1024; allowed: 4..65536; changes live",
    ]
    assert "group.limits.max_held_total (node.toml)" in run.output
    assert len(json.loads(CliRunner().invoke(main, ["settings", "--json"]).output)["settings"]) == len(CASES)
    assert CliRunner().invoke(main, ["settings", "max_hold"]).exit_code == 1


def test_a_key_that_the_pages_lack_is_found() -> None:
    assert ("group.timing", "no_such_key") not in told("node.toml")
    with pytest.raises(LookupError):
        markdown_man.section("# One\n", "## Two")
