"""The reference market: one command in, its events out."""

from matching_core.digest import digest
from matching_core.reference import audit
from matching_core.reference.commands import execute
from matching_core.reference.expiry import expire
from matching_core.reference.rejects import reason_to_reject
from matching_core.reference.rows import rows
from matching_core.reference.state import State
from schemas import events as e
from schemas.commands import AnyCommand, name_of


class ReferenceMarket:
    """The market as MARKET.md defines it, in plain Python. It numbers its commands 1, 2, … ."""

    def __init__(self) -> None:
        self._state = State()

    @property
    def seq(self) -> int:
        """The number of the last command, 0 before the first."""
        return self._state.seq

    def apply(self, command: AnyCommand) -> list[e.AnyEvent]:
        """Apply a command and return its events, in order.

        Raises:
            ValueError: `at` is smaller than the last command's; nothing happened.
            AssertionError: money was not conserved: a defect, and the market is not to be used on.
        """
        state = self._state
        if command.at < state.at:
            raise ValueError("at: smaller than that of the command before")
        state.seq += 1
        state.at = command.at
        state.events = []
        expire(state)
        reason = reason_to_reject(state, command)
        if reason is None:
            execute(command, state)
        else:
            state.emit(e.Rejected, command=name_of(command), reason=reason)
        audit.check_totals(state)
        return state.events

    apply_command = apply  # the name that both engines share (matching_core.engines)

    def digest(self) -> str:
        """Return the digest of the whole state, the same as the compiled core's."""
        return digest(rows(self._state))

    def audit(self) -> None:
        """Recount money and slots from their smallest parts; AssertionError when they disagree."""
        audit.check_everything(self._state)
