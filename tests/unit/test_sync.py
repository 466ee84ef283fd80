"""What is told of directories that are kept identical, and what is wrong in their configuration."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import convert, structs, to_builtins

from fttcp.cli.checks import Status
from fttcp.cli.sync_checks import check_sync
from fttcp.config import load
from fttcp.node.reload import compare
from fttcp.sync import copying
from fttcp.sync.agent import Agent
from fttcp.sync.news import news
from fttcp.sync.programs import ProgramError, running
from fttcp.sync.record import Records, Report
from fttcp.sync.remote import AgentLine, Answer, Moved, PartialError, Peer
from fttcp.sync.service import Service
from fttcp.sync.tree import PARTIAL, Directory, TreeError
from tests.unit.test_config import GOOD, errors_of
from tests.unit.test_frontend import frontend

SYNC = '[[sync]]\nname = "www"\ndirectory = "/srv/www"\n'
GOOD_COPY = Report("www", "beta", "alpha", "/srv/www", good_at="2026-11-30T12:00:00+00:00")


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ('delete = "primary-of mail"', "sync[0].delete: no group has the name 'mail' (groups: web)"),
        (
            'delete = "always"',
            "sync[0].delete: 'always' is not allowed",
        ),
        ('peers = ["gamma"]', "sync[0].peers[0]: no peer has the name 'gamma' (peers: beta)"),
        (
            'quiet_hours = "22:00-26:00"',
            "sync[0].quiet_hours: '22:00-26:00' is not allowed",
        ),
        ('quiet_hours = "22:00-22:00"', "sync[0].quiet_hours: '22:00-22:00' begins when it ends"),
        ('remote_shell = "ssh \'x"', "sync[0].remote_shell: No closing quotation"),
        (SYNC, "sync[1].name: 'www' stands there twice"),
        (
            '[[sync]]\nname = "deep"\ndirectory = "/srv/www/deep"',
            "sync[1].directory: '/srv/www/deep' and sync[0].directory (/srv/www) lie in each other",
        ),
    ],
)
def test_what_is_wrong_in_an_entry_is_named(tmp_path: Path, more: str, complaint: str) -> None:
    assert any(error.startswith(complaint) for error in errors_of(tmp_path, GOOD + SYNC + more))


def test_the_daemon_goes_on_when_an_entry_changes(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(GOOD)
    before = load(file)
    file.write_text(GOOD + SYNC)
    assert not compare(before, load(file)).restart
    assert load(file).sync[0].copied_to("beta")


def test_news_are_told_once() -> None:
    bad = structs.replace(GOOD_COPY, error="no rsync")
    assert [kind for kind, _, _ in news(bad, GOOD_COPY)] == ["sync-failed"]
    assert not list(news(bad, bad)) and not list(news(GOOD_COPY, None))
    assert [kind for kind, _, _ in news(GOOD_COPY, bad)] == ["sync-good"]
    conflicts = structs.replace(GOOD_COPY, conflicts=3)
    [(kind, _, fields)] = news(conflicts, structs.replace(GOOD_COPY, conflicts=1))
    assert kind == "sync-conflict" and fields["conflicts"] == 2


def test_the_daemon_is_told_and_refuses_what_is_no_report(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with frontend(tmp_path) as (face, _, _):
            face.config = structs.replace(face.config, sync=load_with_sync(tmp_path).sync)

            async def ask(**request: Any) -> dict[str, Any]:
                return await face._control.answer(json.dumps(request).encode())

            bad = to_builtins(structs.replace(GOOD_COPY, error="no rsync"))
            await ask(op="synced", report=bad, before=None)
            [shown] = (await ask(op="status"))["sync"]
            assert shown == bad and face.reporting.history.counts["sync-failed"] == 1
            for report in (None, 7, {"entry": "www"}, {**bad, "files": "many"}):
                assert "error" in await ask(op="synced", report=report)

    asyncio.run(scenario())


def load_with_sync(place: Path) -> Any:
    (place / "sync.toml").write_text(GOOD + SYNC)
    return load(place / "sync.toml")


def test_records_outlive_the_service_and_broken_ones_are_none(tmp_path: Path) -> None:
    records = Records(tmp_path / "state")
    assert records.report("www", "beta") is None and records.base("www", "beta", ["/a", "/b"]) == {}
    (tmp_path / "a\udcff").touch()
    tree = Directory(tmp_path, []).listed()
    base = {path: (version, version) for path, version in tree.items()}
    records.keep_base("www", "beta", ["/a", "/b"], base)
    records.keep_report(GOOD_COPY, "beta")
    assert records.base("www", "beta", ["/a", "/b"]) == base and records.report("www", "beta") == GOOD_COPY
    assert records.base("www", "beta", ["/a", "/other"]) == {}
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for file in (tmp_path / "state").iterdir():
        file.write_text('{"directories": ["/a", "/b"], "base": {"x": 7}}')
    assert records.base("www", "beta", ["/a", "/b"]) == {} and records.report("www", "beta") is None


@pytest.mark.parametrize("path", ["../out", "/etc/x", "a/../../out", "", "link/x", "."])
def test_nothing_outside_the_directory_is_touched(tmp_path: Path, path: str) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "x").touch()
    (inside / "link").symlink_to(outside)
    directory = Directory(inside, [])
    version = directory.listed()["link"]
    with pytest.raises(TreeError):
        directory.remove([path], {path: version})
    with pytest.raises(TreeError):
        directory.keep([path], "alpha", {path: version})
    assert [file.name for file in outside.iterdir()] == ["x"]


@pytest.mark.parametrize("what", ["link", "file", "deep"])
def test_what_has_the_name_of_our_room_is_removed_and_no_link_followed(tmp_path: Path, what: str) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "x").touch()
    room, partial = inside / ".fttcp-temp-alpha", inside / "d" / PARTIAL

    def plant(place: Path) -> None:
        place.parent.mkdir(exist_ok=True)
        if what == "link":
            place.symlink_to(outside)
        elif what == "file":
            place.touch()
        else:
            (place / "d" / "e").mkdir(parents=True)
            (place / "d" / "out").symlink_to(outside)

    directory = Directory(inside, [])
    plant(room)
    directory.begin("alpha")
    assert not room.is_symlink() and room.stat().st_mode & 0o777 == 0o700 and not list(room.iterdir())
    room.rmdir()
    plant(room)
    plant(partial)
    directory.end("alpha", good=True)
    assert not room.exists() and (what == "file" or not partial.exists())
    assert [file.name for file in outside.iterdir()] == ["x"]


def an_answer(section: Any, *lines: str) -> Any:
    """Ask an agent that answers with these lines."""

    async def asked() -> Any:
        said = shlex.quote("".join(line + "\n" for line in lines))
        async with running(["sh", "-c", f"printf %s {said}; cat >/dev/null"]) as process:
            line = AgentLine(process, section, Peer("beta", "beta"))
            return await line.begin("alpha", []), await line.tree()

    return asyncio.run(asked())


@pytest.mark.parametrize(
    "line",
    [
        "Welcome to beta!",
        "7",
        "{}",
        '{"directory": "/srv/www", "exclude": []}',
        '{"directory": "/srv/www", "exclude": [], "tree": {"x": [1, 2]}}',
        '{"directory": "/srv/www", "exclude": 7, "tree": {}}',
        '{"directory": "/srv/www", "tree": {}}',
    ],
)
def test_an_agent_that_answers_nonsense_is_an_error_that_says_what_to_do(tmp_path: Path, line: str) -> None:
    with pytest.raises(
        ProgramError, match=r"let root's shell print nothing, and have the same fttcp on both"
    ):
        an_answer(load_with_sync(tmp_path).sync[0], line)


class Near(AgentLine):
    """The agent of another node, asked here."""

    def __init__(self, section: Any, place: Path) -> None:
        self._section, self._peer = section, Peer("beta", "beta")
        self._agent = Agent(Directory(place, []), "beta", [].append)

    async def ask(self, op: str, **more: Any) -> Answer:
        return convert(json.loads(json.dumps(self._agent.answer({"op": op, **more}))), Answer)


@pytest.mark.parametrize("how", ["some failed", "interrupted", "a fault"])
def test_a_copy_that_fails_knows_what_it_has_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    for file in ("alpha/mine", "beta/theirs"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text(file)
    section = structs.replace(load_with_sync(tmp_path).sync[0], directory=str(tmp_path / "alpha"))
    records = Records(tmp_path / "state")
    records.keep_report(structs.replace(GOOD_COPY, error="no rsync"), "beta")
    done = []

    async def rsync(_: Any, source: str, target: str, room: str, paths: list[str]) -> Moved:
        done.extend(paths)
        if paths == ["theirs"] and how == "some failed":
            raise PartialError("status 23")
        for path in paths:
            shutil.copy2(f"{source.removeprefix('beta:')}/{path}", f"{target.removeprefix('beta:')}/{path}")
        if paths == ["mine"] and how == "interrupted":
            raise asyncio.CancelledError
        if paths == ["mine"] and how == "a fault":
            raise KeyError("x")
        return Moved(1, 1)

    @asynccontextmanager
    async def agent(*_: Any) -> AsyncIterator[AgentLine]:
        yield Near(section, tmp_path / "beta")

    monkeypatch.setattr(copying, "rsync", rsync)
    monkeypatch.setattr(copying, "agent", agent)
    copy = copying.Copy(copying.Pair(section, "alpha", Peer("beta", "beta"), "x"), records, lambda _: None)
    with suppress(asyncio.CancelledError):
        asyncio.run(copy.run())
    assert done == ["theirs", "mine"]
    known = records.base("www", "beta", [str(tmp_path / "alpha"), str(tmp_path / "beta")])
    assert set(known) == {"mine"} | (set() if how == "some failed" else {"theirs"})
    report = records.report("www", "beta")
    assert report is not None and report.good_at == GOOD_COPY.good_at
    assert (report.interrupted_at is not None) == (how == "interrupted")
    assert {"some failed": "status 23", "interrupted": "no rsync", "a fault": "KeyError"}[how] in (
        report.error or ""
    )


def test_a_node_that_copies_nothing_by_itself_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        service = Service([], Records(tmp_path / "state"), None, None)
        task = asyncio.create_task(service.run(tmp_path / "socket"))
        while not (tmp_path / "socket").exists():
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(tmp_path / "socket")
        writer.write(b'{"now": null}\n')
        assert json.loads(await reader.readline()) == {"copies": []} and not task.done()
        writer.close()
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(scenario())


def test_names_that_are_no_text_come_from_an_agent(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a\udcff").touch()
    (inside / "cache").touch()
    (inside / "own").touch()
    answers = io.StringIO()
    requests = ['{"op": "begin", "driver": "alpha", "exclude": ["cache"]}', '{"op": "list"}']
    Agent(Directory(inside, ["own"]), "beta", [].append).serve(requests, answers)
    (place, exclude, tree), again = an_answer(
        load_with_sync(tmp_path).sync[0], *answers.getvalue().splitlines()
    )
    assert place == str(inside) and exclude == ["own"] and list(tree) == list(again) == ["a\udcff"]
    assert tree == Directory(inside, ["own", "cache"]).listed()


def test_what_has_changed_since_it_was_listed_is_not_deleted(tmp_path: Path) -> None:
    for name in ("changed", "d/kept", "gone", "same"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    directory = Directory(tmp_path, ["d/*"])
    listed = directory.listed()
    (tmp_path / "changed").write_text("more")
    (tmp_path / "gone").unlink()
    assert directory.remove(["changed", "d", "gone", "same"], listed) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "d"]


def test_an_agent_answers_nonsense_and_lists_what_there_is(tmp_path: Path) -> None:
    (tmp_path / "page").touch()
    reports: list[Report] = []
    requests = [
        "{",
        "7",
        '{"op": "explode"}',
        '{"op": "keep", "paths": ["x"]}',
        '{"op": "end"}',
        '{"op": "list"}',
    ]
    answers = io.StringIO()
    Agent(Directory(tmp_path, []), "beta", reports.append).serve(requests, answers)
    said = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert all("error" in one for one in said[:-1]) and list(said[-1]["tree"]) == ["page"] and not reports


@pytest.mark.skipif(os.geteuid() != 0, reason="asks peers as root only")
def test_doctor_asks_here_and_there(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nshift\nexec sh -c "$1"\n')
    shell.chmod(0o755)
    (tmp_path / "old").write_text("#!/bin/sh\necho rsync  version 3.1.2  protocol version 31\n")
    (tmp_path / "away").write_text("#!/bin/sh\necho no route >&2; exit 255\n")
    for name in ("old", "away"):
        (tmp_path / name).chmod(0o755)

    def found(remote: str) -> dict[str, Any]:
        file = tmp_path / "node.toml"
        entry = SYNC.replace("/srv/www", str(tmp_path / "www"))
        file.write_text(GOOD + entry + f'remote_shell = "{tmp_path}/{remote}"')
        return {check.name: check for check in check_sync(load(file))}

    checks = found("shell")
    assert checks["sync"].status is Status.OK and checks["sync www"].status is Status.FAIL
    (tmp_path / "www").mkdir()
    assert "sync www" not in found("shell")
    assert "3.1.2" in found("old")["sync with beta"].seen
    assert "no route" in found("away")["sync with beta"].seen
