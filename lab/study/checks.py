"""What is wrong with an experiment, before anything of it is run: each sentence names the key."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from lab.bench.rows import FTTCP
from lab.faults import FAULTS
from lab.firewalls import RULE_ACTS
from lab.lifecycle import ROLES
from lab.links import LINKS as LINKS_OF_LABS
from lab.links import senders
from lab.network import ALL_NODES, ARBITERS, CLIENT, LINKS, PEER_LINK, SERVICE_LINK
from lab.probe.recipes import RECIPES
from lab.segments import trouble as trouble_of_segments
from lab.study.schema import Client, Fault, Figure, Study
from lab.wire import Terms

WAITS = ("p10", "p50", "p90", "p99", "p999", "longest")
REPAIRS = ("restart-host", "heal")
"""Faults that are none."""
_OF_THE_PAIR = ("switchover", "kill-node", "freeze-node", "restart-host")
"""Faults that are asked of a pair: no other system's daemon is stopped, or started again, by them."""
COLUMNS = {
    "longest_gap_ms": "longest silence of a client, ms",
    "takeover_ms": "from the fault to the takeover, ms",
    "mbit_s": "Mbit/s, both ways",
    "received": "bytes received",
    "sent": "bytes sent",
    "lost": "connections lost",
    **{f"wait_{name}_us": f"wait for an answer ({name}), µs" for name in WAITS},
}
"""What is measured of a run, and the words for it."""
_LINKS_OF = {
    "cut": (*LINKS, "all"),
    "loss": (SERVICE_LINK, PEER_LINK),
    "rate": (SERVICE_LINK,),
}
_TERMS = ("delay_ms", "jitter_ms", "reorder_percent", "duplicate_percent", "loss_percent", "rate_mbit")
_KEY_OF = {"sender": "from"}
_RATE = re.compile(r"\$(RATE\b|\{RATE\b)")


def explained(error: msgspec.ValidationError, root: type[Struct]) -> str:
    """Return what a file has wrong, with its place first, and with what may stand there."""
    told, _, place = str(error).partition(" - at ")
    place = place.strip("`").removeprefix("$").removeprefix(".")
    if place.startswith("sweep["):
        return 'sweep: wanted are keys in quotes with lists of values: "timing.heartbeat_ms" = [5, 20]'
    there = _type_at(root, re.findall(r"[a-z_]+(?![^\[]*\])", place))
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", told):
        keys = [field.encode_name for field in getattr(there, "fields", ())]
        told = f"there is no key `{unknown[1]}`; keys are {', '.join(keys)}"
    elif told.startswith("Invalid enum value"):
        told = f"{told}; wanted is one of {', '.join(map(str, _values(there)))}"
    elif "matching regex" in told:
        told = "wanted is at most 41 of a-z, 0-9 and -, beginning with a letter"
    return f"{place}: {told}" if place else told


def _type_at(root: type[Struct], names: list[str]) -> Any:
    """The type of the key at a path; of a list, that of its items."""
    there: Any = msgspec.inspect.type_info(root)
    for name in names:
        there = next((one.type for one in getattr(there, "fields", ()) if one.encode_name == name), None)
        there = getattr(there, "item_type", there)
    return there


def _values(there: Any) -> tuple[Any, ...]:
    """What a key may be that is one of some words or numbers, or nothing."""
    kinds = getattr(there, "types", (there,))
    return tuple(value for kind in kinds for value in getattr(kind, "values", ()))


def troubles(study: Study) -> Iterator[str]:
    """Yield what is wrong, one sentence for each."""
    yield from _of_servers(study)
    yield from _of_recipe(study)
    for i, client in enumerate(study.client):
        yield from (f"client[{i}]{trouble}" for trouble in _of_client(client, study))
    if wrong := trouble_of_segments(
        [segment.of_lab() for segment in study.segment], ALL_NODES[: study.lab.nodes]
    ):
        yield wrong
    for i, link in enumerate(study.link):
        yield from (f"link[{i}]{trouble}" for trouble in _of_link(link.sender, link.link, study))
    latest = 0.0
    for i, fault in enumerate(study.fault):
        yield from (f"fault[{i}]{trouble}" for trouble in _of_fault(fault, study))
        if fault.at_s is not None and fault.at_s < latest:
            yield f"fault[{i}].at_s: {fault.at_s:g} is before the fault above it; write them in their order"
        latest = max(latest, fault.at_s or 0.0)
    for key, values in study.sweep.items():
        if not values:
            yield f"sweep.{key}: there are no values"
    for i, figure in enumerate(study.figure):
        if trouble := _of_figure(figure, study):
            yield f"figure[{i}]: {trouble}"


def _of_recipe(study: Study) -> Iterator[str]:
    place, wants = study.lab, any(client.measure == "recipe" for client in study.client)
    own = {server.name: server.stream for server in study.server}
    streams = {name: recipe.stream or "" for name, recipe in RECIPES.items()} | own
    if place.recipe and place.recipe not in streams:
        yield f"lab.recipe: {place.recipe!r} is none of {', '.join((*own, *RECIPES))}"
    elif place.recipe and (place.serve or place.system != FTTCP):
        yield "lab.recipe: it takes the place of `serve`, and of `system`"
    elif wants and not streams.get(place.recipe):
        yield f'lab.recipe: {place.recipe!r} has no download for the client that measures "recipe"'
    for i, client in enumerate(study.client):
        if client.measure == "recipe" and client.rate and not _RATE.search(streams.get(place.recipe, "")):
            yield (
                f"client[{i}].rate: the `stream` of {place.recipe!r} has no $RATE, so it would not be kept; "
                "say rate_mbit of a [[link]]"
            )
        yield from (f"client[{i}].bytes: {trouble}" for trouble in _of_length(client, study))


def _of_length(client: Client, study: Study) -> Iterator[str]:
    """Of a download whose length is known, `bytes` is to be that: moments are counted by it."""
    if client.measure != "recipe" or not client.bytes:
        return
    for server in study.server:
        file = Path(server.files, server.expect)
        known = server.name == study.lab.recipe and server.expect and file.is_file()
        if known and (size := file.stat().st_size) != client.bytes:
            yield f"{client.bytes}: {server.expect!r} of {server.name!r} has {size}"


def _of_servers(study: Study) -> Iterator[str]:
    names = [server.name for server in study.server]
    swept = study.sweep.get("lab.recipe", ())
    for i, server in enumerate(study.server):
        if server.name in RECIPES or names.count(server.name) > 1:
            yield f"server[{i}].name: there is another {server.name!r}"
        if server.name not in (study.lab.recipe, *swept):
            yield f"server[{i}]: nothing has it; name it as lab.recipe, or sweep that"
        if server.files and not Path(server.files).is_dir():
            yield f"server[{i}].files: {server.files} is no directory"
        elif server.expect and not Path(server.files, server.expect).is_file():
            yield f"server[{i}].expect: {server.expect!r} is no file among `files`"
        if server.expect and not server.stream:
            yield f"server[{i}].expect: it is what a `stream` prints, and there is none"


def _hosts(study: Study) -> tuple[str, ...]:
    nodes = ALL_NODES[: study.lab.nodes]
    return (CLIENT, *nodes, *_made(study), *(arbiter for arbiter in ARBITERS if arbiter == study.lab.arbiter))


def _made(study: Study) -> list[str]:
    """Clients of segments."""
    return [host for segment in study.segment for host in segment.of_lab().clients()]


def _of_client(client: Client, study: Study) -> Iterator[str]:
    if (client.measure is None) == (client.command is None):
        yield ": it has either `measure` or `command`"
    if client.expect is not None and client.command is None:
        yield ".expect: it is what a `command` prints, and there is none"
    if client.host not in _hosts(study):
        yield f".host: {client.host!r} is none of {', '.join(_hosts(study))}"
    if client.family == 6 and client.measure == "recipe":
        yield ".family: recipes are asked by IPv4"
    if client.family == 6 and study.lab.system != FTTCP:
        yield f".family: lab.system = {study.lab.system!r} serves IPv4 here"


def _of_link(sender: str | None, link: str, study: Study) -> Iterator[str]:
    links = (*LINKS_OF_LABS, *_made(study))
    if link not in links:
        yield f".link: {link!r} is none of {', '.join(links)}"
        return
    known = senders(link, ALL_NODES[: study.lab.nodes])
    if sender not in (None, *known):
        yield f".from: {sender!r} is none of {', '.join(known)}"


def _of_fault(fault: Fault, study: Study) -> Iterator[str]:
    if fault.kind not in FAULTS:
        yield f".kind: {fault.kind!r} is none of {', '.join(FAULTS)}"
        return
    if fault.kind in _OF_THE_PAIR and study.lab.system != FTTCP:
        yield f".kind: {fault.kind} does nothing to lab.system = {study.lab.system!r}"
    given = fault.arguments()
    keys = list(inspect.signature(FAULTS[fault.kind]).parameters.values())[1:]
    names = [key.name for key in keys if key.name != "seed"]
    for name in given:
        if name not in names:
            wanted = ", ".join(_KEY_OF.get(one, one) for one in names) or "none"
            yield f": {fault.kind} has no key {_KEY_OF.get(name, name)!r}; its keys are: {wanted}"
    for key in keys:
        if key.default is key.empty and key.name not in given:
            yield f": {fault.kind} needs {_KEY_OF.get(key.name, key.name)!r}"
    yield from _of_values(fault.kind, given, (*_hosts(study), *ROLES), study)
    yield from _of_moment(fault, study)


def _of_values(kind: str, given: dict[str, Any], hosts: tuple[str, ...], study: Study) -> Iterator[str]:
    """What its keys say."""
    target, link, act = given.get("target"), given.get("link"), given.get("act")
    if target is not None and target not in hosts:
        yield f".target: {target!r} is none of {', '.join(hosts)}"
    if kind == "link" and link is not None:
        yield from _of_link(given.get("sender"), link, study)
        if trouble := Terms(**{name: given[name] for name in _TERMS if name in given}).trouble():
            yield f": {trouble}"
    elif link is not None and link not in _LINKS_OF.get(kind, (link,)):
        yield f".link: {link!r} is none of {', '.join(_LINKS_OF[kind])}"
        return
    if act is not None and act not in RULE_ACTS:
        yield f".act: {act!r} is none of {', '.join(RULE_ACTS)}"
    if not 0 <= given.get("percent", 0) <= 100:
        yield f".percent: {given['percent']:g}: allowed are 0 to 100"
    if not 0.1 <= given.get("mbit", 1) <= 10_000:
        yield f".mbit: {given['mbit']:g}: allowed are 0.1 to 10000"
    if given.get("seconds", 1) <= 0:
        yield f".seconds: {given['seconds']:g}: it must be more than 0"


def _of_moment(fault: Fault, study: Study) -> Iterator[str]:
    if fault.at_s is not None and fault.when is not None:
        yield ": it has either `at_s` or `when`"
    if fault.when is not None and (trouble := _of_when(fault.when, study)):
        yield f".when: {trouble}"
    timed = all(client.measure and not client.bytes for client in study.client)
    last_s = max(client.at_s for client in study.client) + study.seconds
    if fault.at_s is not None and timed and fault.at_s >= last_s:
        yield f".at_s: {fault.at_s:g}: the clients have ended by then; `seconds` is {study.seconds:g}"


def _of_when(when: str, study: Study) -> str:
    first = study.client[0]
    match when.split():
        case ["received", number, "%"] if _is_number(number):
            return (
                ""
                if first.measure and first.bytes
                else "the first client has no `bytes` of which it could be a part; give it some"
            )
        case ["answers", number] if _is_number(number):
            return "" if asks(first) else "the first client does not count answers"
        case ["synced" | "paired" | "renewed"]:
            return ""
    return f'{when!r}: wanted is "received N %", "answers N", "synced", "paired" or "renewed"'


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def asks(client: Client) -> bool:
    """Whether it counts answers."""
    return client.measure in ("echo", "connect")


def _of_figure(figure: Figure, study: Study) -> str:
    """A plot that would be empty is an error."""
    first = study.client[0]
    if figure.kind == "sequence" and "client" not in study.capture:
        return '"sequence" needs capture = ["client"]'
    if figure.kind == "parameter" and not study.sweep:
        return '"parameter" needs something that is swept'
    if figure.kind == "parameter" and figure.value not in COLUMNS:
        return f"value {figure.value!r} is none of {', '.join(COLUMNS)}"
    waits = figure.kind == "waits" or (figure.kind == "parameter" and figure.value.startswith("wait_"))
    if waits and not asks(first):
        return 'waits need a first client that counts answers: measure = "echo" or "connect"'
    if figure.kind == "timeline" and not first.measure:
        return '"timeline" needs a first client with `measure`'
    return ""
