"""What the documents name exists: files, links, tests, commands with their options, settings.

A document that was right when it was written goes wrong silently; so everything in it that can be
looked up is looked up here. The tables are compared in `test_docs_tables.py`.
"""

import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import dsp_sdk
from schemas.command import GROUP, build
from tests.tidy.documents import (
    bare,
    blocks,
    code_spans,
    documents,
    prose,
    quoted_commands,
    read,
    shell_commands,
)
from tests.tidy.sources import PACKAGES, ROOT, dotted, files

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
FOLDERS = {*PACKAGES, "tests", "bench", "docs", "requirements", ".ci"}
PATH = re.compile(r"[\w.-]+(/[\w.-]+)*/?")
RUN_WORDS = {"demo", "test", "check", "setup", "help"}


@cache
def known_paths() -> frozenset[str]:
    """Return every file of the repository and every folder that holds one."""
    found = {path.as_posix() for path in files()}
    return frozenset(found | {up.as_posix() for path in files() for up in path.parents})


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    heads = (line.text for line in read(path)[0] if line.text.startswith("#"))
    texts = (re.sub(r"[^\w\- ]", "", head.lstrip("#").strip().lower()) for head in heads)
    return {text.replace(" ", "-") for text in texts}


def links():
    """Yield (place, text, target file relative to the root, anchor) of each relative link."""
    for line in prose():
        for text, target in LINK.findall(line.text):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            base = Path(line.document)
            there = (ROOT / base.parent / name).resolve() if name else ROOT / base
            yield line, text, there.relative_to(ROOT.resolve()), anchor


def test_every_link_leads_somewhere():
    assert any(True for _ in links())
    wrong = [
        f"{place}: {there}#{anchor}"
        for place, _, there, anchor in links()
        if there.as_posix() not in known_paths()
        or (anchor and anchor not in anchors(there))
    ]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def test_every_path_that_is_named_exists():
    wrong = []
    for line in prose():
        for span in code_spans(line.text):
            named = PATH.fullmatch(span) and "/" in span and span.partition("/")[0] in FOLDERS
            if named and span.rstrip("/") not in known_paths():
                wrong.append(f"{line}: {span}")
    assert not wrong, "\n".join(wrong)


def test_every_test_that_is_named_exists():
    """A link whose text is the name of a test leads to the file that has it."""
    wrong = []
    for place, text, there, _ in links():
        name = text.strip("`")
        if not name.startswith("test_") or name.endswith(".py"):
            continue
        module = ast.parse((ROOT / there).read_text())
        names = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        names |= {n.name for n in ast.walk(module) if isinstance(n, ast.AsyncFunctionDef)}
        if name not in names:
            wrong.append(f"{place}: {there} has no {name}")
    assert not wrong, "\n".join(wrong)


# ----------------------------------------------------------------------------- commands
@cache
def loader() -> Any:
    """Return `curb` as this tree's pyproject.toml has it, whatever is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return build(
        EntryPoint(name, value, GROUP) for name, value in project["entry-points"][GROUP].items()
    )


def walk(words: list[str]) -> tuple[Any, Any, list[str]]:
    """Follow words into groups; return (command, its context, what is left)."""
    command, context = loader(), loader().context_class(loader(), info_name="curb")
    while words and hasattr(command, "get_command"):
        inner = command.get_command(context, words[0])
        if inner is None:
            break
        context = inner.context_class(inner, info_name=words[0], parent=context)
        command, words = inner, words[1:]
    return command, context, words


def fault_of(words: list[str], *, whole: bool) -> str:
    """Say what is wrong with `curb WORDS…`, without running it; "" when nothing is.

    `whole`: it must parse as it stands. Else only what is named must exist.
    """
    command, context, rest = walk(words)
    text = str(command.help or "")
    if text.startswith("Unavailable:"):
        return text
    if hasattr(command, "get_command"):
        return f"no command {rest[0]!r}" if rest and not rest[0].startswith("-") else ""
    if not whole:
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        given = {word.partition("=")[0] for word in rest if word.startswith("-") and word != "-"}
        return f"no option {', '.join(sorted(given - options))}" if given - options else ""
    try:
        command.make_context(command.name, list(rest), parent=context.parent).close()
    except Exception as error:  # noqa: BLE001  # click's errors, whichever copy of click it is
        return f"{type(error).__name__}: {error}"
    return ""


CURB = [(c.place, bare(c.words)[1:]) for c in shell_commands() if bare(c.words)[:1] == ["curb"]]
QUOTED = [(c.place, bare(c.words)[1:]) for c in quoted_commands() if bare(c.words)[:1] == ["curb"]]


@pytest.mark.parametrize("place,words", CURB, ids=[f"{p} {' '.join(w[:2])}" for p, w in CURB])
def test_every_curb_line_of_a_shell_block_parses(place, words, monkeypatch):
    """Method: the command's own parser takes it; nothing is run."""
    monkeypatch.chdir(ROOT)
    assert fault_of(words, whole=True) == "", place


def test_every_curb_command_in_prose_exists_with_its_options():
    wrong = [
        f"{place}: {' '.join(w)}: {f}" for place, w in QUOTED if (f := fault_of(w, whole=False))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_check_of_commands_sees_what_is_wrong():
    assert fault_of(["no-such-thing"], whole=True)
    assert fault_of(["member", "no-such-thing"], whole=True)
    assert fault_of(["clear", "f", "--no-such-option"], whole=True)
    assert fault_of(["clear"], whole=True)  # its file is missing
    assert fault_of(["halt", "galaxy"], whole=True)
    assert fault_of(["clear", "--no-such-option"], whole=False)
    assert fault_of(["halt", "exchange", "--by", "risk"], whole=True) == ""


def test_every_word_of_run_is_one_it_knows():
    lines = [*shell_commands(), *quoted_commands()]
    wrong = [
        f"{line.place}: {' '.join(line.words)}"
        for line in lines
        if (words := bare(line.words))[:1] == ["run"] and words[1:2] and words[1] not in RUN_WORDS
    ]
    assert not wrong, "\n".join(wrong)
    script = (ROOT / "run").read_text()
    assert all(re.search(rf"\b{word}\b.*\)", script) for word in RUN_WORDS)


@cache
def help_of(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_every_module_that_is_run_exists_and_has_the_options():
    """`python -m MODULE`, in shell blocks and in prose."""
    lines = [(c.place, bare(c.words)) for c in shell_commands()]
    lines += [
        (str(line), bare(span.split()))
        for line in prose()
        for span in code_spans(line.text)
        if "python -m" in span
    ]
    wrong = []
    for place, words in lines:
        if len(words) < 3 or not words[0].endswith("python") or words[1] != "-m":
            continue
        module, rest = words[2], words[3:]
        if importlib.util.find_spec(module) is None:
            wrong.append(f"{place}: no module {module}")
            continue
        if module == "bench":
            if rest and importlib.util.find_spec(f"bench.{rest[0]}") is None:
                wrong.append(f"{place}: no benchmark {rest[0]}")
            module, rest = f"bench.{rest[0]}" if rest else module, rest[1:]
            text = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        elif any(word.startswith("--") for word in rest):
            text = help_of(module)
        else:
            continue
        wrong += [
            f"{place}: {module} has no {word}"
            for word in rest
            if word.startswith("--") and word.partition("=")[0] not in text
        ]
    assert not wrong, "\n".join(wrong)


def test_every_file_that_a_shell_block_reads_from_docs_exists():
    wrong = [
        f"{command.place}: {word}"
        for command in shell_commands()
        for word in command.words
        if word.startswith("docs/") and word not in known_paths()
    ]
    assert not wrong, "\n".join(wrong)


# ----------------------------------------------------------------------------- Python, examples
def python_blocks():
    for block in blocks():
        if block.language == "python":
            yield f"{block.document}:{block.number}", "\n".join(block.lines)
    for path in files():
        if path.parts[0] == "docs" and path.suffix == ".py":
            yield path.as_posix(), (ROOT / path).read_text()


@pytest.mark.parametrize(
    "place,text", list(python_blocks()), ids=lambda value: value.split("\n")[0]
)
def test_python_that_is_shown_is_python_and_uses_what_the_sdk_has(place, text):
    """That it runs is shown where there is an exchange to run it against."""
    names = {alias.asname for alias in _imports(text) if alias.name == "dsp_sdk"}
    used = {
        dotted(node).partition(".")[2]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and dotted(node).partition(".")[0] in names
    }
    assert used <= set(dsp_sdk.__all__), place


def _imports(text):
    return [
        alias
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for alias in node.names
    ]


def test_no_block_is_of_an_unknown_kind():
    """A misspelt language would hide a block from the tests above."""
    kinds = {"sh", "python", "toml", "json", "text", "ini", "sql"}
    assert not [
        f"{b.document}:{b.number} {b.language}" for b in blocks() if b.language not in kinds
    ]


def test_there_are_documents():
    names = {path.as_posix() for path in documents()}
    assert {"README.md", "docs/market.md", "docs/operating.md", "docs/architecture.md"} <= names
