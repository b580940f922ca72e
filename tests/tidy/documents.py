"""What the tests of the documents read: prose, tables and code blocks of README.md and docs/."""

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.tidy.sources import ROOT, files

FENCE = re.compile(r"^( {0,3})```(\w*)\s*$")
SHELL = {"sh", "bash", "console"}
# Code in prose that begins like a command and is none.
NO_COMMANDS = {
    "curb fill token": "what the tokens' keys are derived with",
    "curb bundle 1": "a kind",
}


class Line(NamedTuple):
    document: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.number}"


class Block(NamedTuple):
    """A fenced code block: where it begins, what language it says, its lines."""

    document: str
    number: int
    language: str
    lines: list[str]


def documents() -> list[Path]:
    """Return the documents, relative to the root."""
    return [p for p in files() if p.suffix == ".md" and (len(p.parts) == 1 or p.parts[0] == "docs")]


@cache
def read(path: Path) -> tuple[list[Line], list[Block]]:
    """Split a document into its prose (tables and headings too) and its code blocks."""
    prose: list[Line] = []
    blocks: list[Block] = []
    inside: Block | None = None
    for number, text in enumerate((ROOT / path).read_text("utf-8").splitlines(), 1):
        fence = FENCE.match(text)
        if fence and inside is None:
            inside = Block(path.as_posix(), number, fence[2], [])
        elif fence and inside is not None:
            blocks.append(inside)
            inside = None
        elif inside is not None:
            inside.lines.append(text)
        else:
            prose.append(Line(path.as_posix(), number, text))
    assert inside is None, f"{path}: a code block is not closed"
    return prose, blocks


def prose() -> Iterator[Line]:
    for path in documents():
        yield from read(path)[0]


def blocks() -> Iterator[Block]:
    for path in documents():
        yield from read(path)[1]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def tables(path: str) -> list[list[dict[str, str]]]:
    """Return each table of a document as its rows by the names in its head."""
    found: list[list[dict[str, str]]] = []
    head: list[str] = []
    for line in [*read(Path(path))[0], Line(path, 0, "")]:
        if not line.text.startswith("|"):
            head = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.text)[1:-1]]
        if not head:
            head = cells
            found.append([])
        elif not all(set(cell) <= set(":-") and cell for cell in cells):
            assert len(cells) == len(head), f"{line}: {len(cells)} cells under {len(head)} names"
            found[-1].append(dict(zip(head, cells, strict=True)))
    return found


def table(path: str, *names: str) -> list[dict[str, str]]:
    """Return the one table of a document whose head begins with these names."""
    (only,) = (rows for rows in tables(path) if rows and tuple(rows[0])[: len(names)] == names)
    return only


class Command(NamedTuple):
    """A command line of a document, in words; `place` is its document and line."""

    place: str
    words: list[str]


def shell_commands() -> Iterator[Command]:
    """Yield each command of the shell blocks; pipes, `&` and `;` part them, a last backslash joins."""
    for block in blocks():
        if block.language not in SHELL:
            continue
        start, text = block.number, ""
        for number, raw in enumerate([*block.lines, ""], block.number + 1):
            start = start if text else number
            text += raw
            if text.endswith("\\") or text.rstrip().endswith("|"):
                text = text.removesuffix("\\") + " "
                continue
            lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True  # else it parts words at colons, too
            words: list[str] = []
            for word in [*lexer, ";"]:
                if set(word) <= set("|&;()"):
                    if words:
                        yield Command(f"{block.document}:{start}", words)
                    words = []
                else:
                    words.append(word)
            text = ""


def quoted_commands() -> Iterator[Command]:
    """Yield the commands that stand in prose as code: `curb …` and `./run …`."""
    for line in prose():
        for span in code_spans(line.text):
            if span.startswith(("curb ", "./run ")) and span not in NO_COMMANDS:
                yield Command(str(line), span.replace("…", "").split())


def bare(words: list[str]) -> list[str]:
    """Take off what stands before a command: settings, `sudo -u NAME`, `exec`, `./run`."""
    rest = list(words)
    while rest:
        if re.fullmatch(r"[A-Z_]+=.*", rest[0]) or rest[0] in {"exec", "time"}:
            rest = rest[1:]
        elif rest[0] == "sudo":
            rest = rest[3:] if rest[1:2] == ["-u"] else rest[1:]
        elif rest[0].endswith("/run") or rest[0].endswith("/bin/curb"):
            rest = ["curb", *rest[1:]] if rest[0].endswith("curb") else ["run", *rest[1:]]
            break
        else:
            break
    if rest[:1] == ["run"] and len(rest) > 1 and rest[1] in {"curb", "python", "pytest"}:
        rest = rest[1:]
    elif rest[:2] == ["run", "demo"]:
        rest = ["curb", *rest[1:]]
    return rest
