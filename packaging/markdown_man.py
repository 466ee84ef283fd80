"""Turns the Markdown of the documentation into troff, so that manual pages of section 5 say what docs/ says.

It knows what docs/ uses: headings, paragraphs, lists, quoted blocks of code, and tables, of which each row
becomes an entry: its first cell is the term, the others follow by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEADING = re.compile(r"(#+) +(.*)")
_ITEM = re.compile(r"(?:[-*]|(\d+)\.) +(.*)")
_LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
_MARKED = re.compile(r"(`+)(.+?)\1|\*\*(.+?)\*\*|(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])")


def escape(text: str) -> str:
    """Escape text for troff; a line must not begin with a dot or an apostrophe."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.splitlines())


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of its level or above. Raises LookupError."""
    lines = text.splitlines()
    try:
        start = next(i for i, line in enumerate(lines) if line.strip() == heading)
    except StopIteration:
        raise LookupError(f"no heading {heading!r}") from None
    level = len(heading.split()[0])
    end, quoted = start + 1, False
    while end < len(lines):
        quoted ^= lines[end].startswith("```")
        found = None if quoted else _HEADING.match(lines[end])
        if found and len(found[1]) <= level:
            break
        end += 1
    return "\n".join(lines[start + 1 : end])


def code(text: str, heading: str, language: str) -> str:
    """Return the first block of code of a language under a heading. Raises LookupError."""
    found = re.search(rf"^```{language}\n(.*?)^```", section(text, heading), re.M | re.S)
    if not found:
        raise LookupError(f"no {language} under {heading!r}")
    return found[1]


def rows(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield (titles, cells) of each row of each table."""
    titles: list[str] | None = None
    for line in text.splitlines():
        if not line.startswith("|"):
            titles = None
        elif titles is None:
            titles = _cells(line)
        elif set(line) - set("|-: "):
            yield titles, _cells(line)


def to_troff(text: str) -> str:
    """Return the text as the body of a manual page; its highest headings become sections."""
    return "\n".join(_blocks(text.splitlines())) + "\n"


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _inline(text: str) -> str:
    """Mark code and stressed words, and leave the text of links."""
    text = _LINK.sub(lambda link: link[1], text)
    out, last = [], 0
    for found in _MARKED.finditer(text):
        out.append(escape(text[last : found.start()]) if text[last : found.start()] else "")
        bold, italic = found[2] or found[3], found[4]
        out.append(f"\\fB{escape(bold)}\\fR" if bold else f"\\fI{escape(italic)}\\fR")
        last = found.end()
    joined = "".join(out) + escape(text[last:])
    return joined if joined[:1] not in (".", "'") else "\\&" + joined


def _row(titles: list[str], cells: list[str]) -> list[str]:
    """Return an entry: the first cell, bounds in one line, what the key means, the rest with its title."""
    told = dict(zip(titles, cells, strict=False))
    del told[titles[0]]
    plain = "meaning" if "meaning" in told else titles[-1]
    short = ("default", "allowed", "live")
    bounds = "; ".join(f"{title} {told.pop(title)}" for title in short if told.get(title))
    parts = [
        bounds,
        *(text if title in (plain, "") else f"{title}: {text}" for title, text in told.items() if text),
    ]
    lines = "\n.br\n".join(_inline(part) for part in parts if part)
    return [".TP", _inline(cells[0]), lines or "\\&"]


def _blocks(lines: list[str]) -> Iterator[str]:
    top = min((len(found[1]) for line in lines if (found := _HEADING.match(line))), default=1)
    words: list[str] = []
    titles: list[str] | None = None
    quoted = indented = False
    for line in [*lines, ""]:
        fence = line.startswith("```")
        if words and (fence or not line.strip() or line.startswith(("|", "#")) or _ITEM.match(line)):
            yield _inline(" ".join(words))
            words = []
        if not line.startswith("|"):
            titles = None
        if fence:
            yield ".EE\n.RE" if quoted else ".PP\n.RS 4\n.EX"
            quoted = not quoted
        elif quoted:
            yield escape(line) or "\\&"
        elif heading := _HEADING.match(line):
            indented = False
            yield f".{'SH' if len(heading[1]) == top else 'SS'} {_title(heading[2], len(heading[1]) == top)}"
        elif line.startswith("|"):
            if titles is None:
                titles = _cells(line)
            elif set(line) - set("|-: "):
                yield from _row(titles, _cells(line))
        elif item := _ITEM.match(line):
            mark = f"{item[1]}." if item[1] else "\\(bu"
            yield f".IP {mark} 4"
            words, indented = [item[2]], True
        elif line.strip():
            if not words:
                indented = indented and line.startswith(" ")
                yield ".IP" if indented else ".PP"
            words.append(line.strip())


def _title(text: str, top: bool) -> str:
    plain = _LINK.sub(lambda link: link[1], text).replace("`", "").replace('"', "")
    return f'"{escape(plain.upper() if top and "[" not in plain else plain)}"'
