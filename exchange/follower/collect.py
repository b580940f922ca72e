"""One round of the follower: records of the journal become one batch of event files.

The journal says what was asked, the core what happened; what neither writes as an event and yet
must reach the ledger (names, deposits, withdrawals) is noted here. A command that was rejected
leaves its `rejected` row and nothing else.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from exchange.apply import JournalApplier, Watch, decode_command, member_handle
from exchange.follower.event_files import (
    MONEY_ROW,
    ROLE_BUYER,
    ROLE_OPERATOR,
    Batch,
    NameRow,
)
from exchange.journal.reader import Bids
from exchange.journal.record import Kind, Record
from exchange.kernels import pack
from exchange.registry import Registry
from matching_core.event_rows import COLUMNS, EVENT_WORDS, as_rows
from matching_core.market import Market
from schemas import commands
from schemas.records import EVENT_TYPES

REJECTED: Final = EVENT_TYPES.index("rejected")
_SEQ, _TYPE, _AGENT, _BUYER, _OPERATOR = (
    COLUMNS.index(name) for name in ("seq", "type", "agent", "buyer", "operator")
)
_NO_ROWS: Final[NDArray[np.int64]] = np.zeros((0, EVENT_WORDS), np.int64)


class Collector:
    """Applies records to a market and keeps what they made happen until `take` is called."""

    def __init__(
        self,
        market: Market,
        registry: Registry,
        position: int,
        next_seq: int,
        watch: Watch | None = None,
    ) -> None:
        self.market = market
        self.registry = registry
        self._applier = JournalApplier(market, registry, watch)
        self._begin = self.position = position
        self._first_seq = self.next_seq = next_seq
        self._matrices: list[NDArray[np.int64]] = []
        self._names: list[NameRow] = []
        self._money: list[tuple[int, int, int, int, int, int]] = []
        self.event_count = 0

    def add(self, record: Record) -> None:
        """Apply the next record of the journal."""
        matrix = self._applier.apply(record)
        rejected = False
        if len(matrix):
            # The core's rows are overwritten by its next call.
            matrix = matrix.copy()
            rejected = self._stamp(as_rows(matrix), record.agent)
            self._matrices.append(matrix)
            self.event_count += len(matrix)
        if record.kind == Kind.RARE and not rejected:
            self._note(decode_command(record.payload), record.seq)
        self.position = record.end
        self.next_seq = record.seq + record.count

    def add_bids(self, bids: Bids, end: int) -> None:
        """Apply frames of bids that end at position `end`: as `add` would one by one."""
        counts = bids.runs[:, pack.COUNT]
        agents = bids.runs[:, pack.AGENT]
        senders = np.repeat(self._senders(agents), counts, axis=0)
        for run in self._last_of_each(agents).tolist():
            _, count, agent, epoch, message = bids.runs[run].tolist()
            self.registry.numbered(agent, epoch, message, count)
        matrix = self._applier.bids(bids.records, senders[:, :2], bids.at_ns)
        if len(matrix):
            matrix = matrix.copy()
            rejected = np.flatnonzero(matrix[:, _TYPE] == REJECTED)
            if len(rejected):
                given_by = senders[matrix[rejected, _SEQ] - bids.seq]
                matrix[rejected, _AGENT] = given_by[:, 1]
                matrix[rejected, _BUYER] = given_by[:, 2]
                matrix[rejected, _OPERATOR] = given_by[:, 3]
            self._matrices.append(matrix)
            self.event_count += len(matrix)
        self.position = end
        self.next_seq = bids.seq + len(bids.records)

    @property
    def something(self) -> bool:
        """Tell whether anything happened that somebody waits for."""
        return bool(self._matrices or self._names or self._money)

    def take(self) -> Batch:
        """Return all since the last call as one batch."""
        matrix = np.concatenate(self._matrices) if self._matrices else _NO_ROWS
        batch = Batch(
            self._begin,
            self.position,
            self._first_seq,
            self.next_seq,
            self._names,
            np.array(self._money, MONEY_ROW),
            as_rows(matrix),
        )
        self._begin, self._first_seq = self.position, self.next_seq
        self._matrices, self._names, self._money = [], [], []
        self.event_count = 0
        return batch

    def _senders(self, agents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return of each agent (index): its member's handle, its number, that handle as buyer, as operator."""
        found = np.zeros((len(agents), 4), np.int64)
        for index in np.unique(agents).tolist():
            if index:
                agent = self.registry.agent(index)
                handle = member_handle(self.market, agent)
                found[agents == index] = (
                    handle, agent.number, handle * (agent.role == "buyer"),
                    handle * (agent.role == "operator"),
                )  # fmt: skip
        return found

    @staticmethod
    def _last_of_each(agents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the last run of each agent: message numbers and epochs of one agent only go up."""
        _, from_the_end = np.unique(agents[::-1], return_index=True)
        return np.asarray(len(agents) - 1 - from_the_end)

    def _stamp(self, rows: NDArray[np.void], agent_index: int) -> bool:
        """Write into `rejected` rows who gave the command; tell whether there was one.

        Who a command speaks of and who gave it differ (a forged fill number), and only the giver
        may see its rejection.
        """
        rejected = rows["type"] == REJECTED
        if not rejected.any():
            return False
        buyer = operator = number = 0
        if agent_index:
            agent = self.registry.agent(agent_index)
            number = agent.number
            handle = member_handle(self.market, agent)
            buyer = handle if agent.role == "buyer" else 0
            operator = handle if agent.role == "operator" else 0
        rows["buyer"][rejected] = buyer
        rows["operator"][rejected] = operator
        rows["agent"][rejected] = number
        return True

    def _note(self, command: commands.AnyCommand, seq: int) -> None:
        handle_of = self.market.names.handle
        match command:
            case commands.Deposit() | commands.Withdraw():
                sign = 1 if isinstance(command, commands.Deposit) else -1
                role = ROLE_BUYER if command.role == "buyer" else ROLE_OPERATOR
                member = handle_of(command.role, command.member)
                amount = sign * command.amount
                self._money.append((seq, command.at, role, member, command.transfer, amount))
            case commands.Buyer(buyer=name) | commands.Operator(operator=name):
                self._name(seq, commands.name_of(command), name, group=command.owner_group)
            case commands.Site(site=name):
                owner = handle_of("operator", command.operator)
                self._name(
                    seq, "site", name, owner, country=command.country or "", tier=command.tier
                )
            case commands.Model(model=name):
                self._name(seq, "model", name)
            case commands.Metro(metro=name):
                self._name(seq, "metro", name)
            case commands.Adapter(adapter=name):
                self._name(seq, "adapter", name, handle_of("model", command.model))
            case commands.Deal(deal=name):
                self._name(seq, "deal", name, handle_of("operator", command.operator))
            case commands.Campaign(campaign=name):
                buyer = handle_of("buyer", command.buyer)
                handle = handle_of("campaign", name, buyer)
                self._names.append(NameRow(seq, "campaign", handle, name, buyer))
            case _:
                pass

    def _name(
        self, seq: int, kind: str, name: str, owner: int = 0, *, group: str = "",
        country: str = "", tier: str = "",
    ) -> None:  # fmt: skip
        handle = self.market.names.handle(kind, name)
        self._names.append(NameRow(seq, kind, handle, name, owner, group, country, tier))
