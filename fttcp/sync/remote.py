"""The other host of a copy: its agent, by the remote shell, and rsync to and from it."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, convert

from fttcp.sync.programs import REMOTE_RSYNC, ProgramError, complaint, on_host, run, running
from fttcp.sync.settings import SyncSection
from fttcp.sync.tree import PARTIAL
from fttcp.sync.versions import Version

_ANSWER_S = 900
_SILENCE_S = 60
"""Without a byte, rsync gives up."""
_PARTIAL = 23
"""rsync's status when some files could not be copied."""
_VANISHED = 24
"""rsync's status when files went away while it copied them."""
_FILES = re.compile(r"^Number of regular files transferred: (\d+)", re.M)
_BYTES = re.compile(r"^Total transferred file size: (\d+)", re.M)


@dataclass(frozen=True, slots=True)
class Moved:
    """What rsync has copied."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, and how its shell is reached."""

    name: str
    host: str


class Answer(Struct):
    """Of an agent: what it was asked for, or why not."""

    error: str | None = None
    directory: str | None = None
    exclude: list[str] | None = None
    tree: dict[str, Version] | None = None
    kept: list[str] = []
    removed: int = 0


class PartialError(ProgramError):
    """Of many files rsync has copied some."""


class AgentLine:
    """The agent of a directory at the peer, while it runs."""

    def __init__(self, process: Process, section: SyncSection, peer: Peer) -> None:
        self._process, self._section, self._peer = process, section, peer

    async def ask(self, op: str, **more: Any) -> Answer:
        """Return the answer. Raises ProgramError."""
        assert self._process.stdin is not None and self._process.stdout is not None
        line = b""
        try:
            async with asyncio.timeout(_ANSWER_S):
                self._process.stdin.write(json.dumps({"op": op, **more}).encode() + b"\n")
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
        except TimeoutError as error:
            raise ProgramError(f"{self._peer.name}: no answer within {_ANSWER_S} s") from error
        except (ConnectionError, ValueError):
            line = b""  # its own words say why
        if not line.endswith(b"\n"):
            said = await complaint(self._process) or "it has ended"
            shell = f"{self._section.remote_shell} {self._peer.host}"
            raise ProgramError(f"{self._peer.name}: {said} (does `{shell} fttcp --version` work?)")
        try:
            answer = convert(json.loads(line), Answer)
        except (ValueError, RecursionError) as error:
            raise self._strange(line) from error
        if answer.error is not None:
            raise ProgramError(f"{self._peer.name}: {answer.error}")
        return answer

    async def begin(self, driver: str, exclude: Sequence[str]) -> tuple[str, list[str], dict[str, Version]]:
        """Return the directory there, what is excluded there, and what is in it that nobody excludes. Raises
        ProgramError."""
        answer = await self.ask("begin", driver=driver, exclude=list(exclude))
        if answer.directory is None or answer.exclude is None:
            raise self._strange(b"begin: no directory, or nothing of what is excluded")
        return answer.directory, answer.exclude, self._tree(answer)

    async def tree(self) -> dict[str, Version]:
        """Return what is in the directory there. Raises ProgramError."""
        return self._tree(await self.ask("list"))

    def _tree(self, answer: Answer) -> dict[str, Version]:
        if answer.tree is None:
            raise self._strange(b"no list")
        for path in answer.tree:
            if {"", ".", ".."} & set(path.split("/")):
                raise ProgramError(f"{self._peer.name}: {path!r} is no path below the directory")
        return answer.tree

    def _strange(self, line: bytes) -> ProgramError:
        return ProgramError(
            f"{self._peer.name}: answers {line[:80].decode(errors='replace')!r}: let root's shell print "
            "nothing, and have the same fttcp on both nodes"
        )


@asynccontextmanager
async def agent(section: SyncSection, peer: Peer, config: str) -> AsyncIterator[AgentLine]:
    """Run the agent at the peer for as long as the block lasts. Raises ProgramError."""
    words = ["fttcp", "sync", "agent", "--config", config, section.name]
    async with running(on_host(section.remote_shell, peer.host, words)) as process:
        yield AgentLine(process, section, peer)


async def rsync(section: SyncSection, source: str, target: str, room: str, paths: Sequence[str]) -> Moved:
    """Copy paths below the source: `HOST:/DIRECTORY` on one side. ``room``: where the target writes what is
    not complete. Raises PartialError, ProgramError."""
    if not paths:
        return Moved()
    argv = ["rsync", "-lptgoDAXs", "--numeric-ids", "--omit-dir-times", "--no-implied-dirs", "--update"]
    argv += ["--modify-window=-1", "--from0", "--files-from=-", f"--partial-dir={PARTIAL}", "--stats"]
    argv += [
        "--no-human-readable",
        f"--temp-dir={room}",
        f"--timeout={_SILENCE_S}",
        f"--rsync-path={REMOTE_RSYNC}",
    ]
    argv += ["-e", section.remote_shell]
    if section.bandwidth_kbyte_s is not None:
        argv.append(f"--bwlimit={section.bandwidth_kbyte_s}")
    given = b"\0".join(path.encode(errors="surrogateescape") for path in paths)
    status, output, errors = await run([*argv, f"{source}/", f"{target}/"], given)
    if status not in (0, _VANISHED):
        kind = PartialError if status == _PARTIAL else ProgramError
        raise kind(f"rsync from {source} to {target} ended with status {status}: {errors}")
    files, size = _FILES.search(output), _BYTES.search(output)
    return Moved(int(files[1]) if files else 0, int(size[1]) if size else 0)
