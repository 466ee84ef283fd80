"""``fttcp demo``: an unmodified client downloads from an unmodified server, whose host fails half-way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from lab.download import make_file, receive
from lab.errors import LabError
from lab.faults import make_fault
from lab.hosts import Host
from lab.interrupt import signals_interrupt
from lab.lifecycle import Lab
from lab.rootless import become_root
from lab.scenes import PAYLOAD, SCENES, Scene
from lab.status import newest_takeover

DEFAULT_SIZE = 50_000_000
DURATION_S = 4.0
"""How long the download would take without a fault; the client's link is shaped to it, within MBIT_LIMITS."""
MBIT_LIMITS = (1.0, 1000.0)
PATIENCE_S = 30
"""A download that takes this much longer than it should is given up."""
FAULT_ARGUMENTS: dict[str, dict[str, Any]] = {
    "crash-host": {},
    "kill-server": {},
    "hang-server": {},
    "kill-node": {},
    "freeze-node": {"seconds": 2.0},
    "cut": {"link": "client"},
    "switchover": {},
}


class FaultInTheMiddle:
    """Makes one fault, in a thread of its own, as soon as half of the download has arrived."""

    def __init__(self, lab: Lab, kind: str, size: int) -> None:
        self._lab, self._kind, self._trigger = lab, kind, size // 2
        self._thread = threading.Thread(target=self._run)
        self._started = False
        self._report: dict[str, Any] | None = None
        self._error: LabError | None = None

    def progress(self, received: int) -> bool:
        """Tell how much has arrived; True once, when that starts the fault."""
        if self._started or received < self._trigger:
            return False
        self._started = True
        self._thread.start()
        return True

    def report(self) -> dict[str, Any] | None:
        """The fault's report, None when it never began; raises LabError when it could not be made."""
        if self._started:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._report

    def _run(self) -> None:
        try:
            self._report = make_fault(self._lab, self._kind, **FAULT_ARGUMENTS[self._kind])
        except LabError as error:
            self._error = error


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the story.")
@click.option(
    "--size",
    type=click.IntRange(min=1_000_000),
    default=DEFAULT_SIZE,
    show_default=True,
    help="Bytes to download.",
)
@click.option(
    "--fault",
    type=click.Choice(list(FAULT_ARGUMENTS)),
    default="crash-host",
    show_default=True,
    help="What happens to the host that serves, half-way.",
)
@click.option("--tls", "scene", flag_value="tls", help="Over HTTPS, which nginx ends itself.")
@click.option("--ssh", "scene", flag_value="ssh", help="Over SSH, from OpenSSH.")
@signals_interrupt()
def demo(as_json: bool, size: int, fault: str, scene: str | None) -> None:
    """Download through a pair, let the serving host fail half-way, and show what the client noticed.

    The exit status is 0 only when the connection survived and the hash is equal.
    """
    console = Console(quiet=as_json)
    try:
        become_root("the demo")
        result = run(Lab(f"demo-{os.getpid()}"), size, fault, console, SCENES[scene or "http"])
    except LabError as error:
        if not as_json:
            raise click.ClickException(str(error)) from error
        result = {"survived": False, "bytes": 0, "hash_equal": False, "gap_ms": None}
        result |= {"fault": fault, "cause": None, "takeover": None, "error": str(error)}
    if as_json:
        click.echo(json.dumps(result))
    else:
        _show(console, result)
    sys.exit(0 if result["survived"] and result["hash_equal"] else 1)


def run(lab: Lab, size: int, fault: str, console: Console, scene: Scene = SCENES["http"]) -> dict[str, Any]:
    """The whole story in `lab`, which is made and removed here; returns the result that --json prints."""
    payload, expected = lab.home / PAYLOAD, ""

    def prepare(host: Host) -> None:
        nonlocal expected
        if not payload.exists():
            console.print(f"making a file of {size:,} bytes")
            expected = make_file(payload, size)
        scene.prepare(lab.home, host.home)

    try:
        console.print(
            f"starting two nodes, a client and a switch, with [bold]{scene.server}[/] on both nodes"
        )
        lab.up([f"{scene.port}/tcp={scene.serve}"], scene.settings, prepare=prepare)
        mbit = min(max(size * 8 / DURATION_S / 1e6, MBIT_LIMITS[0]), MBIT_LIMITS[1])
        make_fault(lab, "rate", "client", mbit)
        primary = lab.host("primary").name
        console.print(f"in step: [bold]{primary}[/] serves; the client's link has {mbit:.0f} Mbit/s")
        result = _download_through(lab, size, fault, mbit, console, scene)
        takeover = newest_takeover(lab.status(), primary) if result["survived"] else None
    finally:
        lab.down()
    digest = result.pop("sha256")
    return result | {
        "hash_equal": digest == expected,
        "cause": takeover["cause"] if takeover else None,
        "takeover": takeover,
    }


def _download_through(
    lab: Lab, size: int, kind: str, mbit: float, console: Console, scene: Scene
) -> dict[str, Any]:
    """Download while the fault happens; returns the client's side of the result."""
    limit_s = round(size * 8 / mbit / 1e6 + PATIENCE_S)
    command = scene.client(limit_s)
    fault = FaultInTheMiddle(lab, kind, size)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        Progress(*columns, console=console) as progress,
        lab.popen("client", command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client,
    ):
        task = progress.add_task("client", total=size)

        def on_progress(received: int) -> None:
            progress.update(task, completed=received)
            if fault.progress(received):
                progress.console.print(f"[bold red]{kind}[/] at byte {received:,}")

        try:
            assert client.stdout and client.stderr
            download = receive(client.stdout, on_progress)
            status, words = client.wait(), client.stderr.read().decode(errors="replace").strip()
        except BaseException:
            client.kill()
            raise
    report = fault.report()
    result: dict[str, Any] = {
        "survived": status == 0 and download.received == size and report is not None,
        "bytes": download.received,
        "sha256": download.sha256,
        "gap_ms": download.gap_ms(report["at_s"]) if report else None,
        "fault": kind,
        "target": report["target"] if report else None,
    }
    return result | ({"error": words} if words else {})


def _show(console: Console, result: dict[str, Any]) -> None:
    """The verdict and the summary for people."""
    good = result["survived"] and result["hash_equal"]
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_row("bytes", f"{result['bytes']:,}")
    table.add_row("hash equal", "yes" if result["hash_equal"] else "NO")
    table.add_row("fault", f"{result['fault']} of {result['target'] or 'nobody: the download ended before'}")
    table.add_row(
        "client-visible gap", f"{result['gap_ms']} ms" if result["gap_ms"] is not None else "none seen"
    )
    table.add_row("cause of the takeover", str(result["cause"] or "no takeover"))
    for key, value in (result["takeover"] or {}).items():
        if key.endswith("_ms"):
            table.add_row(f"  {key.removesuffix('_ms')}", f"after {value} ms")
    if result.get("error"):
        table.add_row("the client says", result["error"])
    console.print(
        "\n[bold green]The connection survived.[/]" if good else "\n[bold red]The connection was lost.[/]"
    )
    console.print(table)
