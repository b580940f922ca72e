"""House rules about files: short enough to read, finished, and of no particular machine."""

import ast
import re

import pytest

from tests.tidy.sources import PACKAGES, ROOT, dotted, files, python_files, tree

LINES_MAX = 500
TEXT = {
    ".cfg",
    ".css",
    ".html",
    ".js",
    ".json",
    ".md",
    ".py",
    ".sh",
    ".sql",
    ".toml",
    ".ts",
    ".txt",
}

# What stands in the root; everything else has a folder.
TOP_LEVEL = {
    *PACKAGES, "tests", "bench", "docs", "requirements", ".ci", ".gitignore", "LICENSE", "README.md",
    "pyproject.toml", "run",
}  # fmt: skip

# Written in parts, so that this file keeps its own rules.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
MACHINE = re.compile(
    "|".join([
        r"(?<![\w.])/(?:" + "wor" + "k|ro" + "ot|far" + r"m)/",
        r"/ho" + r"me/\w",
        r"/tm" + r"p/curb",
        r"pypi\." + r"org|python" + r"hosted|registry\." + r"npmjs",
    ])
)  # fmt: skip


def text_files():
    return [path for path in files() if path.suffix in TEXT or path.name in {"run", ".gitignore"}]


def hits(pattern, paths):
    return [
        f"{path}:{number}: {line.strip()[:80]}"
        for path in paths
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_passes_500_lines():
    """A file that long tells more than one story."""
    code = [path for path in files() if path.suffix in {".py", ".sql", ".ts"} or path.name == "run"]
    long = {
        str(path): count
        for path in code
        if (count := len((ROOT / path).read_text().splitlines())) > LINES_MAX
    }
    assert not long


def test_nothing_is_left_for_later_in_the_files():
    found = hits(UNFINISHED, text_files())
    assert not found, "\n".join(found)


def test_no_file_names_a_path_of_a_machine_or_a_registry():
    found = hits(MACHINE, text_files())
    assert not found, "\n".join(found)


def test_the_root_holds_the_house_and_nothing_else():
    assert {path.parts[0] for path in files()} <= TOP_LEVEL


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_ships_its_types(package):
    assert (ROOT / package / "py.typed").is_file()


def test_every_folder_of_code_is_a_package():
    """Without __init__.py a folder is missing where a tool asks for packages."""
    for path in python_files(*PACKAGES):
        assert (ROOT / path.parent / "__init__.py").is_file(), f"{path.parent} has no __init__.py"


def test_tests_wait_for_conditions_and_never_for_time():
    """The one place that sleeps between two looks is tests/waiting.py; asyncio.sleep(0) only yields."""
    wrong = []
    for path in python_files("tests"):
        if path.as_posix() == "tests/waiting.py":
            continue
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            yields = len(node.args) == 1 and ast.unparse(node.args[0]) == "0"
            if dotted(node.func) in {"time.sleep", "asyncio.sleep", "sleep"} and not yields:
                wrong.append(f"{path}:{node.lineno}")
    assert not wrong, "\n".join(wrong)
