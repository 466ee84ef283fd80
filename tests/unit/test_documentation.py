"""What the documentation names is there: links, places in pages, files, commands and their options."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

from fttcp.cli.main import main
from fttcp.ownership.model import Refusal
from lab.study.cli import client as measuring_client
from lab.study.program import program

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_ELSEWHERE = {
    "/etc/fttcp/node.toml", "/etc/fttcp/witness.toml", "net/ipv4/tcp_output.c", "HOST/node.toml", "node.toml",
    "witness.toml", "native/engine/liveness/link_NAME.c", "tests/test_NAME.py",
}  # fmt: skip
"""Files of a host or of the kernel, and patterns."""
_FILE = re.compile(r"[\w./-]+\.(?:py|c|h|md|sh|toml|pml|service|conf|jsonl|hex)")
_BELOW = ("", "fttcp", "lab", "native", "native/core", "native/engine")
"""Where the paths of files may begin."""
_WORDS = 30_000
"""Of all pages in docs/ that no program writes: who adds some leaves out others. What was measured
(docs/bench) is not among them."""
_TOP = ("fttcp", "lab", "docs", "native", "tests", "model", "packaging", "scripts", "findings")


def prose_of(text: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def places_in(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def links_of(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page.read_text())):
        if not re.match(r"[a-z]+:", target):
            yield target


def test_the_pages_written_by_hand_keep_their_budget_of_words() -> None:
    drawn = {"settings.md", "events.md", "reasons.md", "counters.md", "status.md", "phases.md"}
    written = [page for page in (ROOT / "docs").glob("*.md") if page.name not in drawn]
    words = {page.name: len(page.read_text().split()) for page in written}
    assert sum(words.values()) <= _WORDS, sorted(words.items(), key=lambda one: -one[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = []
    for target in links_of(page):
        path, _, place = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (place and place not in places_in(file.read_text())):
            dead.append(target)
    assert not dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_is_there(page: Path) -> None:
    known = {file.name for top in _TOP for file in (ROOT / top).rglob("*") if "__pycache__" not in file.parts}
    known |= {file.name for file in ROOT.iterdir()} | _ELSEWHERE
    known |= {"fttcp.service", "fttcp-witness.service", "nginx.service", "events.jsonl", "mosquitto.conf"}
    known.add("study.toml")
    dead = set()
    for word in re.findall(r"`([^`\s]+)`", prose_of(page.read_text())):
        name = word.rstrip("/.,:")
        if name in known or name.startswith(("/", "http")):
            continue
        if name.split("/")[0] in _TOP and "/" in name and not re.search(r"[*<>{}A-Z]", name):
            near = [ROOT / name, page.parent / name]
        elif _FILE.fullmatch(name):
            near = [top / name for top in (page.parent, *(ROOT / below for below in _BELOW))]
        else:
            continue
        if not any(one.exists() for one in near):
            dead.add(word)
    assert not dead


def commands_in(page: Path) -> Iterator[list[str]]:
    """The words of every line of a shell block that begins with `fttcp`."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("fttcp "):
                words = shlex.shlex(line, posix=True, punctuation_chars=";|&<>")
                words.whitespace_split = True
                yield list(takewhile(lambda word: not set(word) <= set(";|&<>"), words))[1:]


def lines_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that words name, and those of them that are left for it."""
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        while words and words[0].startswith("-"):
            words = words[2:] if words[0] == "--name" else words[1:]
        assert words, "a group without a command"
        found = command.get_command(context, words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_of_the_documentation_is_one(page: Path) -> None:
    for words in commands_in(page):
        command, rest = lines_of(words)
        options = options_of(command)
        if command is measuring_client:
            options = set(re.findall(r"--[a-z]+", subprocess.check_output([program(), "--help"], text=True)))
        own = rest[: rest.index("--")] if "--" in rest else rest
        given = {word.partition("=")[0] for word in own if word.startswith("--")}
        assert given <= options, (words, given - options)


def options_of(command: click.Command) -> set[str]:
    return {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}


def test_the_commands_and_options_that_prose_names_are_there() -> None:
    for page in PAGES:
        for text in re.findall(r"`fttcp ([a-z][^`]*)`", prose_of(page.read_text())):
            words = list(takewhile(lambda word: word != "--", text.split()))
            command: click.Command = main
            for word in takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), words):
                if not isinstance(command, click.Group):
                    break
                found = command.get_command(click.Context(main), word)
                assert found is not None, (page.name, text)
                command = found
            given = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert given <= options_of(command), (page.name, text, given - options_of(command))


def test_what_is_to_be_made_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z][a-z-]*)", page.read_text()))
        assert named <= targets, (page.name, named - targets)


def test_every_page_that_the_code_names_is_there() -> None:
    sources = [
        file for top in ("fttcp", "lab", "native", "tests", "packaging") for file in (ROOT / top).rglob("*.*")
    ]
    kinds = {".py", ".c", ".h", ".in", ".service", ".toml", ".sh"}
    dead = set()
    for file in sources:
        if file.suffix not in kinds or "build" in file.parts:
            continue
        for name, place in re.findall(r"\b(docs/[\w-]+\.md)(?:#([\w-]+))?", file.read_text(errors="replace")):
            page = ROOT / name
            if not page.exists() or (place and place not in places_in(page.read_text())):
                dead.add((str(file.relative_to(ROOT)), name, place))
    assert not dead


def test_the_names_of_c_code_are_there() -> None:
    code = "\n".join(file.read_text() for kind in ("*.c", "*.h") for file in (ROOT / "native").rglob(kind))
    there = set(re.findall(r"\b(?:ftt|FTT)_\w+", code))
    for page in PAGES[:1] + PAGES[2:]:  # a changelog may name what is gone
        named = set(
            re.findall(r"\b(?:ftt|FTT)_\w*\w\b", " ".join(re.findall(r"`([^`\n]+)`", page.read_text())))
        )
        assert named <= there, (page.name, named - there)


def test_every_reason_for_a_refusal_is_told() -> None:
    words = {refusal.name.lower().replace("_", "-") for refusal in Refusal}
    told = re.findall(r"`([\w-]+)`", (ROOT / "docs/commands.md").read_text())
    assert words <= set(told)
