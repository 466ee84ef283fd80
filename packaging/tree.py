"""Fills the directories of the Debian packages; run by debian/rules in the tree of packaging/deb.py.

Debian 12 has some of its libraries too old or not at all. So the package has a virtual environment
of its own, /usr/lib/fttcp, on Debian's Python: what is in it meets nobody else's libraries.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from email.parser import HeaderParser
from pathlib import Path

HOME = Path("usr/lib/fttcp")
MAIN, LAB = Path("debian/fttcp"), Path("debian/fttcp-lab")
SYSTEM_PYTHON = "/usr/bin/python3"
LICENSES = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|AUTHORS)[^/]*$", re.I)
APACHE = "/usr/share/common-licenses/Apache-2.0"


def run(*words: str | Path) -> None:
    """Run a program that must succeed."""
    subprocess.run([str(word) for word in words], check=True)


def make_environment(build_python: str, constraints: str) -> Path:
    """Make the virtual environment; return its directory of modules."""
    home = MAIN / HOME
    run(SYSTEM_PYTHON, "-m", "venv", "--without-pip", "--symlinks", home)
    # What is compiled is compiled for that Python: a cache of its own, and setuptools apart from ours.
    pip = [build_python, "-m", "pip", "--python", home / "bin/python3"]
    options = ["--quiet", "--disable-pip-version-check", "--root-user-action=ignore"]
    options += ["--no-compile", "--no-warn-script-location"]
    run(*pip, "install", *options, "--constraint", constraints, ".")
    [modules] = (home / "lib").glob("python3.*/site-packages")
    return modules


def make_relocatable(home: Path) -> None:
    """Let everything name the place where it will be; programs of libraries are nobody's business."""
    for path in (home / "bin").iterdir():
        if path.name not in ("python3", "python", "fttcp"):
            path.unlink()
    script = home / "bin/fttcp"
    script.write_text(re.sub(r"\A#!.*\n", f"#!/{HOME}/bin/python3\n", script.read_text()))
    settings = (home / "pyvenv.cfg").read_text().splitlines()
    kept = [line for line in settings if line.startswith(("home", "include-system-site-packages", "version"))]
    (home / "pyvenv.cfg").write_text("\n".join([*kept, ""]))
    for unused in ("include", "share"):
        shutil.rmtree(home / unused, ignore_errors=True)
    if (home / "lib64").is_symlink():
        (home / "lib64").unlink()
    program = MAIN / "usr/bin/fttcp"
    program.parent.mkdir(parents=True)
    program.symlink_to(f"../lib/{HOME.name}/bin/fttcp")


def about(metadata: Path) -> str:
    """Return what a library's metadata say of its origin."""
    fields = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
    kinds = [text.rpartition(" :: ")[2] for text in fields.get_all("Classifier", []) if "License" in text]
    license_name = fields.get("License-Expression") or ", ".join(kinds) or (fields.get("License") or "?")[:60]
    places = [text.rpartition(", ")[2] for text in fields.get_all("Project-URL", [])]
    home = fields.get("Home-page") or next(iter(places), "https://pypi.org/project/" + fields["Name"])
    author = fields.get("Author") or fields.get("Author-email") or f"the authors of {fields['Name']}"
    title = f"{fields['Name']} {fields['Version']}"
    return f"{title}\nFrom: {home}\nCopyright (C) {author}\nLicense: {license_name}\n"


def licence_text(path: Path) -> str:
    """Return the text of a licence, or where Debian has it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    whole_apache = "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
    return f"The text of the Apache License 2.0 is in {APACHE}\n" if whole_apache else text


def write_copyright(modules: Path) -> None:
    """Gather the licences of everything in the package in Debian's place for them."""
    own = "This package was made from the sources of fttcp.\nCopyright (C) 2026 the fttcp maintainers\n"
    own += f"License: Apache-2.0; the text is in {APACHE}\n\n"
    parts = [own + f"It contains these libraries, unchanged, in /{HOME}:\n"]
    for info in sorted(modules.glob("*.dist-info")):
        texts = sorted(path for path in info.rglob("*") if path.is_file() and LICENSES.match(path.name))
        if not info.name.startswith("fttcp-"):
            part = about(info / "METADATA")
            part += "\n".join(licence_text(text) for text in texts)
            parts.append(part)
        for text in texts:
            text.unlink()
        shutil.rmtree(info / "licenses", ignore_errors=True)
        for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            (info / name).unlink(missing_ok=True)
    text = ("\n" + "-" * 72 + "\n").join(parts)
    for package in (MAIN, LAB):
        place = package / "usr/share/doc" / package.name
        place.mkdir(parents=True, exist_ok=True)
        (place / "copyright").write_text(text if package == MAIN else own, encoding="utf-8")


def write_extras() -> None:
    """Manual pages, completions, samples, units."""
    extras = Path("debian/extras")
    program = [MAIN / HOME / "bin/python", "-B", "packaging/extras.py", extras, "--fttcp", "/usr/bin/fttcp"]
    run(*program)
    shutil.copytree(extras / "share", MAIN / "usr/share", dirs_exist_ok=True)
    units = extras / "lib/systemd/system"
    shutil.copy(units / "fttcp.service", "debian/fttcp.service")
    for name in ("fttcp-spread", "fttcp-sync", "fttcp-witness"):
        shutil.copy(units / f"{name}.service", f"debian/fttcp.{name}.service")
    shutil.copy(extras / "lib/sysusers.d/fttcp.conf", "debian/fttcp.sysusers")
    shutil.copytree("docs", MAIN / "usr/share/doc/fttcp/docs", ignore=shutil.ignore_patterns("plots"))
    shutil.copy("README.md", MAIN / "usr/share/doc/fttcp/README.md")
    (MAIN / "etc/fttcp").mkdir(parents=True)


def part_lab(modules: Path) -> None:
    """Move what belongs to the lab to its own package."""
    place = LAB / modules.relative_to(MAIN) / "fttcp"
    place.mkdir(parents=True)
    shutil.move(modules / "fttcp/_lab", place / "_lab")
    pages = LAB / "usr/share/man/man1"
    pages.mkdir(parents=True)
    for page in sorted((MAIN / "usr/share/man/man1").iterdir()):
        if re.match(r"fttcp-(lab|demo|bench|probe-server)\b", page.name):
            shutil.move(page, pages / page.name)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build-python", required=True, help="has pip")
    parser.add_argument("--constraints", required=True, help="versions of the libraries, as pip freezes them")
    options = parser.parse_args()
    modules = make_environment(options.build_python, options.constraints)
    write_extras()
    make_relocatable(MAIN / HOME)
    write_copyright(modules)
    part_lab(modules)
    for cache in list(MAIN.rglob("__pycache__")):
        shutil.rmtree(cache)
    for module in modules.rglob("*.py"):  # a library's module is no program
        text = module.read_bytes()
        if text.startswith(b"#!"):
            module.write_bytes(text.partition(b"\n")[2])


if __name__ == "__main__":
    main()
