"""The command `curb`: a loader of what the installed packages register.

A package names its commands in the entry point group `curb.commands`:

    NAME         = "module:app [extra]"    `curb NAME`
    GROUP.NAME   = "module:app [extra]"    `curb GROUP NAME`, whichever package the others come from

`app` is a `typer.Typer` (several commands: a group; one: the command itself) or a plain function
with typer's annotations. A command is imported when it is asked for, so that a site's agent never
loads the exchange, and one whose extra is missing fails alone: the others neither notice nor wait.

Exit codes of the loader, beside those of the commands: 2 wrong usage, 69 a command that cannot be
loaded here (sysexits.h EX_UNAVAILABLE), 78 `python -O` (see `startup`).
"""

import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points, version
from types import FunctionType
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup

from schemas.startup import refuse_optimised

GROUP: Final = "curb.commands"
DISTRIBUTION: Final = "curb-exchange"
EXIT_UNAVAILABLE: Final = 69
OWN_PACKAGES: Final = frozenset({"dsp_sdk", "exchange", "matching_core", "schemas", "ssp_adapters"})

# The words of a group whose commands come from several packages; no one of them could say it.
GROUP_HELP: Final[Mapping[str, str]] = {
    "site": "Enrol a site at the exchange, and serve its fills.",
}

AnyCommand = TyperCommand | TyperGroup


class Loader(TyperGroup):
    """A group that imports a command's module when the command is asked for."""

    entries: dict[str, EntryPoint]
    groups: dict[str, dict[str, EntryPoint]]

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all registered names, sorted, without importing any of them."""
        return sorted({*self.entries, *self.groups})

    def get_command(self, ctx: Any, cmd_name: str) -> AnyCommand | None:
        """Return the command, or one that says why it cannot be had; None when nobody named it."""
        path = f"{ctx.command_path} {cmd_name}"
        if cmd_name in self.groups:
            if cmd_name in self.entries:
                return _unavailable(path, "registered both as a command and as a group")
            return _group(cmd_name, GROUP_HELP.get(cmd_name, ""), self.groups[cmd_name].values())
        entry = self.entries.get(cmd_name)
        return None if entry is None else load(entry, path)


def build(entries: Iterable[EntryPoint]) -> Loader:
    """Return the command `curb` over these entry points; nothing is imported yet.

    Where two distributions register one name the first keeps it, as on a search path.
    """
    text = "Curb, a neutral exchange for edge inference."
    return _group("curb", text, entries, callback=_options)


def load(entry: EntryPoint, path: str) -> AnyCommand:
    """Import what the entry names and return it as a command; `path` is what the user typed for it.

    Whatever goes wrong in the import is that command's trouble alone: a command is returned that
    says so on standard error and exits with 69.
    """
    try:
        return _as_command(entry.load(), entry.name)
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if missing.partition(".")[0] in OWN_PACKAGES:
            return _unavailable(path, f"not part of this installation ({error})")
        extra = ",".join(entry.extras)
        wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
        return _unavailable(path, f"needs {missing}: pip install '{wanted}'")
    except Exception as error:  # noqa: BLE001  # an import runs anything, so it can raise anything
        place = traceback.extract_tb(error.__traceback__)[-1]
        why = f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})"
        return _unavailable(path, f"could not be loaded: {why}")


def main() -> None:
    """Run `curb` with the process's arguments; does not return."""
    refuse_optimised()
    build(entry_points(group=GROUP))(prog_name="curb")


def _group(name: str, text: str, entries: Iterable[EntryPoint], callback: Any = None) -> Loader:
    plain: dict[str, EntryPoint] = {}
    groups: dict[str, dict[str, EntryPoint]] = {}
    for entry in entries:
        head, dot, rest = entry.name.partition(".")
        if dot:
            inner = EntryPoint(rest, entry.value, entry.group)
            groups.setdefault(head, {}).setdefault(rest, inner)
        else:
            plain.setdefault(head, entry)
    app = typer.Typer(name=name, cls=Loader, no_args_is_help=True, help=text)
    app.callback()(callback or _nothing)
    loader = cast("Loader", typer.main.get_group(app))
    loader.entries, loader.groups = plain, groups
    return loader


def _as_command(loaded: Any, name: str) -> AnyCommand:
    if isinstance(loaded, FunctionType):
        function, loaded = loaded, typer.Typer(add_completion=False)
        loaded.command()(function)
    if not isinstance(loaded, typer.Typer):
        raise TypeError(f"{loaded!r} is neither a typer.Typer nor a function")
    loaded._add_completion = False  # noqa: SLF001  # completion belongs to `curb`, not to each command
    command = cast("AnyCommand", typer.main.get_command(loaded))
    command.name = name
    return command


def _unavailable(path: str, why: str) -> AnyCommand:
    """Make a command that takes any arguments, says `why`, and exits with 69."""
    app = typer.Typer(add_completion=False)
    takes_anything = {"allow_extra_args": True, "ignore_unknown_options": True}

    @app.command(help=f"Unavailable: {why}", context_settings=takes_anything, add_help_option=False)
    def say_why() -> None:
        sys.stderr.write(f"{path}: {why}\n")
        raise typer.Exit(EXIT_UNAVAILABLE)

    command = cast("AnyCommand", typer.main.get_command(app))
    command.name = path.rpartition(" ")[2]
    return command


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"curb {version(DISTRIBUTION)}\n")
        raise typer.Exit


def _options(
    *,
    shown: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def _nothing() -> None:
    pass


if __name__ == "__main__":
    main()
