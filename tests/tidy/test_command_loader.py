"""The loader of `curb`: commands fail alone, load late, and refuse to run without assertions."""

import os
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from schemas.command import EXIT_UNAVAILABLE, GROUP, OWN_PACKAGES, build
from schemas.startup import EXIT_OPTIMISED

ROOT = Path(__file__).parents[2]

MODULES = {
    "loader_good": """
        import typer
        app = typer.Typer()
        @app.command()
        def run(word: str = "nothing"):
            "Say a word."
            print("good", word)
    """,
    "loader_pair": """
        import typer
        app = typer.Typer(help="Members of the market.")
        @app.command()
        def add(name: str): print("added", name)
        @app.command()
        def revoke(name: str): print("revoked", name)
    """,
    "loader_function": """
        def app(count: int = 1):
            "Count."
            print("counted", count)
    """,
    "loader_no_extra": "import nowhere_to_be_found.part",
    "loader_raises": "1 / 0",
    "loader_not_a_command": "app = 7",
}

ENTRIES = [
    ("good", "loader_good:app"),
    ("pair", "loader_pair:app"),
    ("function", "loader_function:app"),
    ("no-extra", "loader_no_extra:app [exchange]"),
    ("raises", "loader_raises:app"),
    ("not-a-command", "loader_not_a_command:app"),
    ("absent", "exchange.commands.nobody_wrote_this:app [exchange]"),
    ("site.serve", "loader_function:app"),
    ("site.enrol", "loader_no_extra:app [site]"),
]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `curb` over ENTRIES with these arguments: (exit code, standard output and error)."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    loader = build(EntryPoint(name, value, GROUP) for name, value in ENTRIES)

    def invoke(*arguments):
        with pytest.raises(SystemExit) as end:
            loader(list(arguments), prog_name="curb")
        out, error = capsys.readouterr()
        return end.value.code or 0, out + error

    return invoke


def test_a_typer_of_one_command_is_the_command(run):
    assert run("good", "--word", "day") == (0, "good day\n")


def test_a_typer_of_several_commands_is_a_group(run):
    assert run("pair", "add", "acme") == (0, "added acme\n")
    assert run("pair", "revoke", "acme") == (0, "revoked acme\n")


def test_a_function_is_a_command(run):
    assert run("function", "--count", "3") == (0, "counted 3\n")


def test_commands_of_two_packages_share_a_group(run):
    assert run("site", "serve") == (0, "counted 1\n")
    code, text = run("site", "enrol")
    assert code == EXIT_UNAVAILABLE
    assert text.startswith("curb site enrol: needs nowhere_to_be_found")


def test_a_missing_extra_is_named_for_its_command_alone(run):
    """The message is one line that repairs it, and other arguments of the command do not hide it."""
    code, text = run("no-extra", "file.jsonl", "--engine", "both")
    assert code == EXIT_UNAVAILABLE
    assert text == (
        "curb no-extra: needs nowhere_to_be_found: pip install 'curb-exchange[exchange]'\n"
    )
    assert run("good") == (0, "good nothing\n")


@pytest.mark.parametrize(
    "name,words",
    [
        ("raises", "ZeroDivisionError: division by zero"),
        ("not-a-command", "TypeError: 7 is neither a typer.Typer nor a function"),
        ("absent", "not part of this installation"),
    ],
)
def test_a_command_that_cannot_be_loaded_says_why(run, name, words):
    code, text = run(name)
    assert code == EXIT_UNAVAILABLE
    assert text.startswith(f"curb {name}: ")
    assert words in text


def test_help_lists_every_command_and_shows_which_are_unavailable(run):
    _, text = run("--help")
    lines = {line.split()[1]: line for line in text.splitlines() if line.startswith("│ ")}
    for name in ("good", "pair", "function", "no-extra", "raises", "absent", "site"):
        assert name in lines
        assert ("Unavailable" in lines[name]) == (name in {"no-extra", "raises", "absent"})


def test_only_the_command_asked_for_is_imported(run):
    run("good")
    assert "loader_good" in sys.modules
    assert "loader_pair" not in sys.modules


def test_no_arguments_is_wrong_usage_with_help(run):
    code, text = run()
    assert code == 2
    assert "Usage: curb" in text


def test_every_registered_command_is_ours_and_names_an_extra_that_exists():
    """Goal: no entry in pyproject.toml points outside the wheel or offers an extra nobody has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name, value in project["entry-points"][GROUP].items():
        entry = EntryPoint(name, value, GROUP)
        assert entry.module.partition(".")[0] in OWN_PACKAGES
        assert set(entry.extras) <= set(project["optional-dependencies"])
        assert entry.extras, f"{name} names no extra"


@pytest.mark.parametrize("how", ["-O", "-OO", "PYTHONOPTIMIZE"])
def test_a_process_without_assertions_is_refused(how):
    environment = {**os.environ, "PYTHONOPTIMIZE": "1" if how == "PYTHONOPTIMIZE" else ""}
    flags = [how] if how.startswith("-") else []
    done = subprocess.run(
        [sys.executable, *flags, "-m", "schemas.command", "--version"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_OPTIMISED
    assert "assertions" in done.stderr
    assert done.stdout == ""
