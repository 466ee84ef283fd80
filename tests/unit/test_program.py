"""What a server's program tells of itself before it runs: real files, and small ones that are made here."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fttcp.config import program
from fttcp.config.elf import Elf, ElfError
from fttcp.config.program import obstacles

TRUE = Path(shutil.which("true") or "/bin/true").resolve()
NOTHING = "int main(void) { return 0; }"
DRAWS = "int RAND_bytes_ex(void) { return 1; } int RAND_priv_bytes_ex(void) { return 2; }"
LIBRARY = f"{DRAWS} int SSL_key(void) {{ return RAND_bytes_ex() + RAND_priv_bytes_ex(); }}"

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Compiles a C text."""

    def compiled(name: str, text: str, *options: str) -> Path:
        source = tmp_path / "source.c"
        source.write_text(text)
        made = tmp_path / name
        subprocess.run(["gcc", "-o", str(made), str(source), *options], check=True)
        return made

    return compiled


def why(command: str | Path) -> str:
    """The one obstacle, or nothing."""
    found = obstacles(str(command))
    assert len(found) <= 1, found
    return found[0].why if found else ""


def fatal(command: str | Path) -> bool:
    return any(obstacle.fatal for obstacle in obstacles(str(command)))


def test_a_usual_program_has_nothing_in_the_way() -> None:
    assert not obstacles(str(TRUE)) and not obstacles("true")


def test_what_is_not_there_is_told_elsewhere() -> None:
    assert not obstacles("no-such-program-anywhere")


def test_a_static_program(make: Make) -> None:
    made = make("still", "void _start(void) { for (;;); }", "-nostdlib", "-static")
    assert "linked statically" in why(made) and fatal(made)
    made = make("still-pie", "void _start(void) { for (;;); }", "-nostdlib", "-static-pie")
    assert "linked statically" in why(made) and fatal(made)


def test_a_go_program(make: Make) -> None:
    mark = '__attribute__((section(".go.buildinfo"))) char mark[] = "\\xff Go buildinf:";'
    made = make("gopher", f"{mark} {NOTHING}")
    assert "Go program" in why(made) and fatal(made)


def test_a_program_of_another_c_library(make: Make) -> None:
    made = make("musl", NOTHING, "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")
    assert "another C library" in why(made) and fatal(made)


def test_a_program_for_another_machine(tmp_path: Path) -> None:
    other = bytearray(TRUE.read_bytes())
    other[18] ^= 0x01
    (tmp_path / "other").write_bytes(other)
    (tmp_path / "other").chmod(0o755)
    assert "another kind of processor" in why(tmp_path / "other") and fatal(tmp_path / "other")


@pytest.mark.parametrize("bit", ["setuid", "setgid"])
def test_rights_by_the_file(make: Make, monkeypatch: pytest.MonkeyPatch, bit: str) -> None:
    made = make("mighty", NOTHING)
    made.chmod(0o4755 if bit == "setuid" else 0o2755)
    owner = made.stat()
    assert not obstacles(str(made)), "the user has these rights anyway"
    name, number = ("geteuid", owner.st_uid) if bit == "setuid" else ("getegid", owner.st_gid)
    monkeypatch.setattr(program.os, name, lambda: number + 1)
    assert bit in why(made) and fatal(made)


def test_numbers_of_the_processor(make: Make) -> None:
    text = "int main(void) { unsigned n; unsigned char c;" + (
        '__asm__ volatile ("rdrand %0; setc %1" : "=r" (n), "=qm" (c)); return c; }'
    )
    made = make("dice", text)
    assert "RDRAND" in why(made) and not fatal(made)


def test_openssl_inside(make: Make) -> None:
    made = make("all-in-one", f'const char *text = "OpenSSL 3.0.17 1 Jul 2025"; {NOTHING}')
    assert "own OpenSSL inside" in why(made) and not fatal(made)
    made = make("all-in-one", f"int RAND_bytes(void) {{ return 1; }} {NOTHING}", "-rdynamic")
    assert "own OpenSSL inside" in why(made) and not fatal(made)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("LibreSSL 3.8.2 ", True),
        ("BoringSSL 1.1.1w (compatible)", True),
        ("wolfSSL 5.6.3 ", False),
        ("OpenSSL 3.0", False),
    ],
)
def test_whose_text_is_inside(make: Make, text: str, own: bool) -> None:
    made = make("all-in-one", f'const char *text = "{text}"; {NOTHING}')
    assert ("own OpenSSL inside" in why(made)) is own


@pytest.mark.parametrize(
    ("option", "good"),
    [
        ("-Wl,-z,now", True),
        ("-fno-plt", True),
        ("-Wl,-Bsymbolic", False),
        ("-Wl,-Bsymbolic-functions", False),
    ],
)
def test_a_libcrypto_whose_calls_cannot_be_answered(make: Make, option: str, good: bool) -> None:
    library = make("libcrypto.so.3", LIBRARY, "-shared", "-fPIC", "-O0", option, "-Wl,-soname,libcrypto.so.3")
    uses = "int SSL_key(void); int main(void) { return SSL_key(); }"
    made = make("server", uses, str(library), "-Wl,-rpath,$ORIGIN")
    assert fatal(made) is not good
    assert why(made) == "" if good else "-Bsymbolic" in why(made) and str(library) in why(made)


@pytest.mark.parametrize(("option", "good"), [("-Wl,-z,now", True), ("-Wl,-Bsymbolic", False)])
def test_a_gnutls_whose_calls_cannot_be_answered(make: Make, option: str, good: bool) -> None:
    draws = "int gnutls_rnd(void) { return 1; } int gnutls_key_generate(void) { return gnutls_rnd(); }"
    library = make("libgnutls.so.30", draws, "-shared", "-fPIC", "-O0", option, "-Wl,-soname,libgnutls.so.30")
    uses = "int gnutls_key_generate(void); int main(void) { return gnutls_key_generate(); }"
    made = make("server", uses, str(library), "-Wl,-rpath,$ORIGIN")
    assert why(made) == "" if good else "-Bsymbolic" in why(made) and str(library) in why(made)
    assert not fatal(made)


@pytest.mark.parametrize(("name", "says"), [("libmbedcrypto.so.7", "one stream"), ("libjli.so", "runs Java")])
def test_another_generator_for_all(make: Make, name: str, says: str) -> None:
    library = make(name, LIBRARY, "-shared", "-fPIC", f"-Wl,-soname,{name}")
    uses = "int SSL_key(void); int main(void) { return SSL_key(); }"
    made = make("server", uses, str(library), "-Wl,-rpath,$ORIGIN")
    assert says in why(made) and not fatal(made)


@pytest.mark.parametrize(
    "start",
    ["{}", "env A=b {}", "env -u A {}", "sh -c {}", "sh -c 'exec {} -x'", "nice -n 5 {}", "setarch -R {}",
     "setarch x86_64 -R {}", "env -C / nohup setsid {} --flag"],
)  # fmt: skip
def test_the_program_behind_what_starts_it(make: Make, start: str) -> None:
    made = make("still", "void _start(void) { for (;;); }", "-nostdlib", "-static")
    assert "linked statically" in why(start.format(made))


def test_scripts_and_their_interpreters(make: Make, tmp_path: Path) -> None:
    made = make("still", "void _start(void) { for (;;); }", "-nostdlib", "-static")
    for number, first in enumerate((f"#!{made}", f"#! {made} -x", f"#!/usr/bin/env -S {made} -x")):
        script = tmp_path / f"script-{number}"
        script.write_text(f"{first}\nwhatever\n")
        script.chmod(0o755)
        assert "linked statically" in why(script)
    circle = tmp_path / "circle"
    circle.write_text(f"#!{circle}\n")
    circle.chmod(0o755)
    assert not obstacles(str(circle))


def test_a_quote_without_an_end_is_for_whoever_runs_it(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh -c it's\n")
    script.chmod(0o755)
    assert not obstacles(str(script)) and not obstacles('sh -c "exec server --name it\'s"')


def test_an_empty_environment() -> None:
    assert "environment" in why(f"env -i {TRUE}") and fatal(f"env -i A=b {TRUE}")


def test_what_a_shell_makes_of_it_is_not_guessed() -> None:
    assert not obstacles("sh -c 'cd / && exec busybox httpd'")


def test_a_broken_file_is_told_and_nothing_else(tmp_path: Path) -> None:
    whole, chance = TRUE.read_bytes(), random.Random(5)
    broken = tmp_path / "broken"
    for _ in range(400):
        data = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.randrange(1, 30)):
            if data:
                data[chance.randrange(min(len(data), chance.choice([64, 1024, len(whole)])))] = (
                    chance.randrange(256)
                )
        broken.write_bytes(data)
        try:
            with Elf(broken) as elf:
                _ = elf.interpreter, elf.needed, elf.search_path, elf.defined, elf.looked_up
        except ElfError:
            continue
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    assert "no ELF file" in why(broken) and not fatal(broken)
