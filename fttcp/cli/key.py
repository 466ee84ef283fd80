"""`fttcp key`: the shared key, and its exchange for another one in three stages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from fttcp.cli.client import ask, load_config, show_json
from fttcp.cli.failure import CommandError
from fttcp.config import Config
from fttcp.wire import keyfile
from fttcp.wire.errors import WireError
from fttcp.wire.keyfile import KeyRing

_NEXT = {
    "one key": "no exchange is under way; `fttcp key add` on one node begins one",
    "added": "copy this file to every other node (and to the witness, if it has this key), `fttcp reload` on "
    "each; then `fttcp key use` on every node",
    "turned": "`fttcp reload`; when every node sends with the new key: `fttcp key drop` on every node",
    "dropped": "`fttcp reload`; when this is done on every node, the old key is worth nothing any more",
}
"""What comes after each stage."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


@click.group()
def key() -> None:
    """Show the shared key, or exchange it for another one while the nodes run.

    Three stages, each finished on all nodes before the next begins: `add` a key that is believed, but not
    sent with; `use` it, so that it is sent with; `drop` the old one. After each: `fttcp reload`.
    """


def _options(function: _Function) -> _Function:
    for option in (
        click.argument("file", type=click.Path(path_type=Path), required=False),
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="The daemon's configuration: names the file, and who knows what the others have.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    ):
        function = option(function)
    return function


_force = click.option("--force", is_flag=True, help="Whatever the other nodes have, or if none can be asked.")


@key.command()
@_options
def show(file: Path | None, config: Path | None, as_json: bool) -> None:
    """Show which keys FILE holds (by their names, never the keys), and what comes next."""
    path, _ = _place(file, config)
    ring = _do(keyfile.load, path)
    told: dict[str, Any] = _told(path, ring, ring.stage)
    if config is not None:
        told["groups"] = {group["name"]: group["keys"] for group in _status(load_config(config))["groups"]}
    if as_json:
        show_json(told)
        return
    click.echo(f"{path}: {ring}\nstage: {ring.stage}; next: {told['next']}")
    for name, keys in told.get("groups", {}).items():
        click.echo(f"group {name}: this node {_ids(keys)}")
        for peer, theirs in keys["peers"].items():
            click.echo(f"  {peer}: {_ids(theirs) if theirs is not None else 'is not heard'}")


@key.command()
@_options
def add(file: Path | None, config: Path | None, as_json: bool) -> None:
    """First stage, on one node only: add a new key to FILE, believed and not sent with yet.

    Then copy FILE to all others; adding a key there as well would make a second one.
    """
    path, _ = _place(file, config)
    _tell(path, _do(keyfile.add, path), "added", as_json)


@key.command()
@_options
@_force
def use(file: Path | None, config: Path | None, force: bool, as_json: bool) -> None:
    """Second stage: mark the new key in FILE as the one to send with.

    With --config refused until this node, all others, and the witness believe it.
    """
    path, loaded = _place(file, config)
    if loaded is not None and not force:
        _require("use", path, loaded)
    _tell(path, _do(keyfile.turn, path), "turned", as_json)


@key.command()
@_options
@_force
def drop(file: Path | None, config: Path | None, force: bool, as_json: bool) -> None:
    """Third stage: remove the old keys from FILE.

    With --config refused until this node and all others send with the new one.
    """
    path, loaded = _place(file, config)
    if loaded is not None and not force:
        _require("drop", path, loaded)
    _tell(path, _do(keyfile.drop, path), "dropped", as_json)


def _place(file: Path | None, config: Path | None) -> tuple[Path, Config | None]:
    """Return the key file, and the configuration if one is given. Raises UsageError, ConfigurationError."""
    if (file is None) == (config is None):
        raise click.UsageError("name the key's FILE, or give --config, one of the two")
    if file is not None:
        return file, None
    assert config is not None
    loaded = load_config(config)
    if keyfile.is_credential(loaded.node.key_file):
        name = loaded.node.key_file
        raise click.UsageError(f"{name} is given by systemd: name the FILE that LoadCredential= has")
    return Path(loaded.node.key_file), loaded


def _do(work: Callable[[Path], KeyRing], path: Path) -> KeyRing:
    try:
        return work(path)
    except WireError as error:
        raise CommandError(str(error), "key-file") from error


def _status(config: Config) -> Mapping[str, Any]:
    return ask(config.socket_path, op="status")


def _told(path: Path, ring: KeyRing, after: str) -> dict[str, Any]:
    sending = ring.ids()[ring.send]
    shown = {"file": str(path), "stage": ring.stage, "keys": list(ring.ids()), "sending": sending}
    return {**shown, "next": _NEXT[after]}


def _tell(path: Path, ring: KeyRing, after: str, as_json: bool) -> None:
    told = _told(path, ring, after)
    show_json(told) if as_json else click.echo(f"{path}: {ring}\nnext: {told['next']}")


def _ids(keys: Mapping[str, Any]) -> str:
    names = (f"{name} (send)" if name == keys["sending"] else name for name in keys["believed"])
    return ", ".join(names) or "does not tell (another release)"


# ---------------------------------------------------------------------- is the stage before finished?


def _require(verb: str, path: Path, config: Config) -> None:
    """Raise CommandError if some node is not as far as this stage needs it."""
    ring = _do(keyfile.load, path)
    if ring.stage != ("added" if verb == "use" else "turned"):
        return  # the file itself will not do, and says so
    new = ring.ids()[-1]
    missing = list(dict.fromkeys(obstacles(verb, new, _status(config)["groups"])))
    if not _witness_believes(config, path, ring):
        todo = "copy the file there, then `systemctl reload fttcp-witness`"
        missing.append(f"the witness does not answer to key {new}: {todo}")
    if missing:
        lines = "\n  ".join(["not all are as far yet (--force goes on all the same):", *missing])
        raise CommandError(lines, "not-everywhere", missing=missing)


def obstacles(verb: str, new: str, groups: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what keeps a stage (``use`` or ``drop``) from beginning; ``groups`` as in `status`."""
    for group in groups:
        keys = group["keys"]
        nodes = {"this node": keys, **keys["peers"]}
        for name, theirs in nodes.items():
            there = "" if name == "this node" else " there"
            if theirs is None:
                yield f"{name} is not heard: start it, or see that it has the file"
            elif verb == "use" and new not in theirs["believed"]:
                copy = "copy the file there, then " if there else ""
                yield f"{name} does not believe key {new} yet: {copy}`fttcp reload`{there}"
            elif verb == "drop" and new != theirs["sending"]:
                change = "`fttcp key use`, then " if there else ""
                yield f"{name} does not send with key {new} yet: {change}`fttcp reload`{there}"


def _witness_believes(config: Config, path: Path, ring: KeyRing) -> bool:
    """True if there is no witness with this key, or it answers to the newest one."""
    section = config.arbiter.witness
    if (
        config.arbiter.kind != "witness"
        or section is None
        or Path(section.key_file or config.node.key_file) != path
    ):
        return True
    from fttcp.node.arbiters import witness_answers_to

    return asyncio.run(witness_answers_to(config, ring.keys[-1]))
