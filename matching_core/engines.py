"""The engines that run a market, by name. Each is imported when it is asked for.

`compiled` is what the exchange runs; `reference` is the definition it must equal. They write the
same events and the same digest.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from schemas.commands import AnyCommand
from schemas.events import AnyEvent


class Engine(Protocol):
    """What both engines can do."""

    @property
    def seq(self) -> int:
        """The number of the last command, 0 before the first."""

    def apply_command(self, command: AnyCommand) -> list[AnyEvent]:
        """Apply a command, numbered by the engine, and return its events in order."""

    def digest(self) -> str:
        """Return the digest of the whole state (`matching_core.digest`)."""


def _compiled() -> Engine:
    from matching_core.market import Market

    return Market()


def _reference() -> Engine:
    from matching_core.reference import ReferenceMarket

    return ReferenceMarket()


COMPILED: Final = "compiled"
REFERENCE: Final = "reference"
ENGINES: Final[Mapping[str, Callable[[], Engine]]] = {COMPILED: _compiled, REFERENCE: _reference}


def new_market(engine: str = COMPILED) -> Engine:
    """Return an empty market run by the engine of that name.

    Raises:
        KeyError: there is no such engine.
        ModuleNotFoundError: what it needs is not installed (the extra `exchange`).
    """
    return ENGINES[engine]()
