"""`fttcp explain`: what the engine decides about the packets of a capture, one by one, and why."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from fttcp.cli.client import show_json
from fttcp.cli.failure import WRONG, CommandError
from fttcp.explain.diagram import diagram
from fttcp.explain.packets import Packet, Takeover, is_recording, packets, recorded, services_in
from fttcp.explain.pair import Entry, explain_node, explain_pair
from fttcp.explain.replay import ReplayError
from fttcp.explain.words import Words
from fttcp.wire.capture import CaptureError, records


class NoCaptureError(CommandError):
    """There is nothing to explain."""

    exit_code = WRONG


@click.command()
@click.argument("capture", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--service", multiple=True, metavar="ADDRESS", help="The service's. Default: whom clients call."
)
@click.option("--packets", "most", type=click.IntRange(1), help="Stop after so many.")
@click.option("--diagram", "draws", is_flag=True, help="Draw the first connection over time instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(capture: Path, service: tuple[str, ...], most: int | None, draws: bool, as_json: bool) -> None:
    """Tell, packet by packet, what the engine decides about CAPTURE, and why.

    CAPTURE is a file of tcpdump or Wireshark, made where the clients are. The engine's own code decides, for
    a primary and a backup: a client's packet reaches both; what the service says counts as said by the
    primary's server, and by the backup's right behind it. Where another MAC address begins to speak for the
    service, the backup takes over.

    Numbers of packets are those of the capture; sequence numbers count from the SYN. Exit status 2: CAPTURE
    cannot be read, or nobody opens a connection in it."""
    if draws and as_json:
        raise click.UsageError("--diagram is for people; leave --json out.")
    try:
        if draws:
            if is_recording(records(capture)):
                sentence = (
                    f"{capture}: a recording of one node; --diagram draws what was on the wire, which "
                    "it does not show. Leave --diagram out, or give it a capture of tcpdump"
                )
                raise NoCaptureError(sentence, "no-capture")
            for line in islice(diagram(_steps(capture, set(service))), most):
                click.echo(line)
            return
        entries = islice(_entries(capture, set(service)), most)
        words = Words()
        if as_json:
            told = [words.json(entry) for entry in entries]
            show_json({"capture": str(capture), "entries": told})
            return
        first_ns = None
        for entry in entries:
            first_ns = entry.time_ns if first_ns is None else first_ns
            head, *rest = words.lines(entry)
            click.echo("\n".join([f"{(entry.time_ns - first_ns) / 1e9:10.6f} {head}", *rest]))
    except CaptureError as error:
        raise NoCaptureError(str(error), "no-capture") from error
    except ReplayError as error:
        raise CommandError(str(error)) from error


def _entries(capture: Path, services: set[str]) -> Iterator[Entry]:
    if is_recording(records(capture)):
        return explain_node(recorded(records(capture)))
    return explain_pair(_steps(capture, services))


def _steps(capture: Path, services: set[str]) -> Iterator[Packet | Takeover]:
    services = services or services_in(records(capture))
    if not services:
        sentence = f"{capture}: no client opens a connection there; name the service: --service ADDRESS"
        raise NoCaptureError(sentence, "no-capture")
    return packets(records(capture), services)
