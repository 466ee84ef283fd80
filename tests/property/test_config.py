"""Whatever stands in a configuration file: it is accepted, or refused in sentences; never an accident."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fttcp.config import ConfigError, load, load_to_run
from fttcp.config.witness import load_witness
from tests.unit.test_config import GOOD, LINKS, THREE

MORE = """
[reference]
addresses = ["10.77.0.254"]
[arbiter]
kind = "{kind}"
[arbiter.witness]
addresses = ["10.79.0.30:7720", "[fd79::30]:7720"]
[arbiter.etcd]
endpoints = ["https://10.79.0.31:2379"]
ca_file = "/etc/ca"
"""
HEALTH = """
[group.hooks]
on_takeover = "true now"
[group.restart]
delay_ms = 5
[[group.health.probe]]
type = "http"
path = "/x"
expect = "ok"
[group.experiment]
callback = "a:b"
"""
LISTEN = """
listen = ["0.0.0.0:7720", "[::]:7720"]
[[cluster]]
name = "web"
key_file = "/etc/fttcp/key"
"""
FILES = [GOOD + HEALTH + MORE.format(kind="witness"), LINKS + MORE.format(kind="etcd"), THREE + HEALTH]
ODD = [
    "", " ", ":", "::", "[", "[::1", "http://[::1", "http://h:99999", "https://:0", "//", "1.2.3.4/33", "%",
    "fe80::1%", "::ffff:1.2.3.4", "256.1.1.1", "1-", "-1/tcp", "99999/udp", "1-99999/tcp", "9-1/tcp", "a'b",
    '"', "\\", "\x00", "\xe9", "\u0663", "\u0663/tcp", "credential:", "credential:../x", "x:", ":y",
    "a.b.c:d", "..:f", "/", "(", "0.0.0.0:\u0663", "[::]:", "1e9999",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(ODD), st.text(max_size=12), st.integers(-1, 2**70), st.booleans(), st.floats(), st.none(),
    st.lists(st.one_of(st.sampled_from(ODD), st.integers()), max_size=2), st.builds(dict),
    st.builds(lambda: {"x": [{}]}),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a tree of tables and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(one for key, each in inner for one in places(each, (*path, key)))]


def put(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    *way, last = path
    for key in way:
        tree = tree[key]
    tree[last] = value


@pytest.mark.parametrize("text", [*FILES, LISTEN], ids=["pair", "links", "three", "witness"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_anywhere(text: str, data: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tomllib.loads(text)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(tree)[1:]))
        put(tree, path, data.draw(VALUES))
    for module in ("fttcp.config.read_tables", "fttcp.config.witness.read_tables"):
        monkeypatch.setattr(module, lambda path: tree)
    for read in [load_witness] if text is LISTEN else [load, load_to_run]:
        try:
            read(Path("/etc/fttcp/any.toml"))
        except ConfigError as error:
            assert error.errors and all(one.startswith("/etc/fttcp/any.toml: ") for one in error.errors)
