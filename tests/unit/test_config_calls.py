"""What goes with `lockstep = "calls"`, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from fttcp.config import ConfigError, load
from fttcp.config.present import what_is_missing
from fttcp.config.program import obstacles
from tests.unit.test_config import GOOD, errors_of

CALLS = GOOD.replace(', "69/udp"', "") + 'lockstep = "calls"\nrenew = "history"\n'
COMMAND = "command = \"nginx -g 'daemon off;'\""


def test_one_server_with_a_history(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(CALLS + '[[group.health.probe]]\ntype = "exec"\ncommand = "true"\n')
    assert load(path).group[0].lockstep == "calls"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (
            'renew = "history"',
            "",
            "group[0].renew: 'connections' does not go with group[0].lockstep = \"calls\"",
        ),
        (COMMAND, 'unit = "nginx.service"', 'group[0].command: group[0].lockstep = "calls" needs one server'),
        (COMMAND, 'commands = ["true", "false"]', "needs one server, which the daemon starts"),
        ("renew =", "compare = false\nrenew =", "group[0].compare: False does not go with group[0].lockstep"),
        (
            "renew =",
            'standby = "cold"\nrenew =',
            "group[0].lockstep: 'calls' does not go with group[0].standby",
        ),
        (
            "renew =",
            'opens = ["25/tcp"]\nopens_bind = true\nrenew =',
            'group[0].lockstep = "connection", whose',
        ),
        *(
            (
                "renew =",
                f'[[group.health.probe]]\ntype = "{kind}"\n',
                f"probe[0].type: '{kind}' does not go with",
            )
            for kind in ("tcp", "http")
        ),
    ],
)
def test_what_does_not_go_with_it(tmp_path: Path, old: str, new: str, error: str) -> None:
    text = CALLS.replace(old, new, 1) if not new.startswith("[[") else CALLS + new
    assert any(error in found for found in errors_of(tmp_path, text)), errors_of(tmp_path, text)


def test_what_only_the_other_way_of_lock_step_needs_is_no_obstacle(tmp_path: Path) -> None:
    """Random numbers for TLS pass through calls, whichever library draws them; Go programs make none."""
    assert not obstacles("redis-server", by_calls=True)
    assert [one.fatal for one in obstacles("env -i redis-server", by_calls=True)] == [True]
    path = tmp_path / "node.toml"
    path.write_text(CALLS.replace("nginx -g 'daemon off;'", "env -i redis-server"))
    (why,) = (told for told in what_is_missing(load(path)) if "lockstep" in told)
    assert "group[0].command: lockstep: env -i" in why


def test_history_still_does_not_go_with_the_other_way(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(CALLS.replace('"calls"', '"connection"'))
    with pytest.raises(ConfigError, match="lockstep: 'connection' does not go with"):
        load(path)
