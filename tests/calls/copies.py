"""Two copies of a program, joined by a log of calls."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fttcp.server import calls

HERE = Path(__file__).parent


def compiled(name: str, folder: Path) -> str:
    """Compile one of the programs beside this file."""
    program = folder / name
    words = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, HERE / f"{name}.c"]
    subprocess.run([*words, "-lpthread"], check=True)
    return str(program)


class Copies:
    """A leader and a follower, that say what they have to say to files."""

    def __init__(self, folder: Path, families: int = calls.ALL, **log: int) -> None:
        self.folder, self.log = folder, folder / "log"
        calls.make(self.log, families=families, **log)
        self.outputs = [folder / "leader.out", folder / "follower.out"]

    @contextmanager
    def running(
        self, leader: Sequence[str], follower: Sequence[str] | None = None, cwd: Sequence[Path] = ()
    ) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Both, while the block runs; the follower's command is the leader's if none is given."""
        started: list[subprocess.Popen[bytes]] = []
        commands = (leader, leader if follower is None else follower)
        try:
            for i, (argv, role) in enumerate(zip(commands, ("leader", "follower"), strict=True)):
                environment: Mapping[str, str] = {**os.environ, **calls.environment(self.log, role)}  # type: ignore[arg-type]
                with self.outputs[i].open("wb") as out:
                    place = cwd[i] if cwd else self.folder
                    started.append(subprocess.Popen(argv, stdout=out, env=environment, cwd=place))
            yield started
        finally:
            for one in started:
                if one.poll() is None:
                    one.kill()
                one.wait()

    def run(
        self, leader: Sequence[str], follower: Sequence[str] | None = None, cwd: Sequence[Path] = ()
    ) -> list[int]:
        """Run both to their ends, and return their exit statuses."""
        with self.running(leader, follower, cwd) as both:
            return [one.wait(60) for one in both]

    @property
    def said(self) -> list[str]:
        """What both have said."""
        return [file.read_text() for file in self.outputs]

    @property
    def told(self) -> dict[str, Any]:
        """What the log tells."""
        return calls.shown(self.log)

    @property
    def alike(self) -> bool:
        """Whether all that was said is the same, and every call was followed to the end."""
        leader, follower = self.said
        return bool(leader) and leader == follower and self.told["state"] == "runs"
