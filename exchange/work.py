"""What a round has numbered and must finish once it is durable: apply, then answer.

Each kind of work holds exactly what its second half needs. `finish` runs after the commit, in the
order of the journal.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np

from exchange import notes
from exchange.answers import statuses
from exchange.apply import JournalApplier, rejection
from exchange.gateway.desks import Desk
from exchange.sealer import Sealer
from matching_core.market import Market
from schemas import commands, frames, records
from schemas.records import FILL_RECORD, STATUS_RECORD
from schemas.session.messages import OrderAnswer

NOBODY: Final = b""
_NAME_COUNT_KINDS: Final = (records.OFFER, records.REFRESH)


class Run(NamedTuple):
    """Records of one frame that follow one another and were accepted."""

    start: int  # place of the first in the frame
    seq: int
    batch: np.ndarray
    payload: bytes  # the frame as journaled


class Answer(NamedTuple):
    """What goes back to a sender: where to, and as the answer to which message of which epoch."""

    desk: Desk
    peer: bytes
    epoch: int
    first: int
    numbers: int
    message: bytes


class Work(Protocol):
    """Something numbered."""

    def finish(self, applier: JournalApplier, tokens: Sealer) -> Answer | None:
        """Apply it and return the answer, if somebody waits for one."""


@dataclass(slots=True)
class FrameWork:
    """A frame of hot records; `codes` are the refusals of admission."""

    desk: Desk
    peer: bytes
    epoch: int
    first: int
    kind: int
    at_ns: int
    codes: np.ndarray
    runs: list[Run] = field(default_factory=list)

    def finish(self, applier: JournalApplier, tokens: Sealer) -> Answer | None:
        """Apply the accepted runs; a status for every record, the fills behind them."""
        market, agent = applier.market, self.desk.agent
        answers = np.zeros(len(self.codes), STATUS_RECORD)
        answers["code"] = self.codes
        fills = []
        sender = (self.desk.member_in(market), agent.number)
        for run in self.runs:
            first = self.first + run.start if self.first else 0
            applier.registry.numbered(agent.index, self.epoch, first, len(run.batch))
            matrix = applier.frame(run.payload, agent.index, self.at_ns)
            part, got = statuses(self.kind, run.batch, matrix, run.seq, sender, tokens)
            if self.kind in _NAME_COUNT_KINDS:
                part["number"] = market.fills_made(run.batch["site"], run.batch["offer"])
            answers[run.start : run.start + len(run.batch)] = part
            if len(got):
                fills.append(got)
        if self.peer == NOBODY:
            return None
        message = frames.encode_answer(
            self.first, answers, _joined(fills), self.desk.session.version
        )
        return Answer(self.desk, self.peer, self.epoch, self.first, len(self.codes), message)


@dataclass(slots=True)
class OrderWork:
    """A rare command."""

    desk: Desk | None  # None: the exchange's own
    peer: bytes
    epoch: int
    first: int
    seq: int
    command: commands.AnyCommand

    def finish(self, applier: JournalApplier, tokens: Sealer) -> Answer | None:
        """Apply it; the answer carries the handle of what was registered."""
        agent = 0 if self.desk is None else self.desk.agent.index
        applier.registry.numbered(agent, self.epoch, self.first, 1)
        code = rejection(applier.rare(self.command, agent))
        if self.desk is None or self.peer == NOBODY:
            return None
        handle = 0 if code else _handle_of(applier.market, self.command)
        answer = OrderAnswer(code=code, seq=self.seq, handle=handle)
        return _answered(self.desk, self.peer, self.epoch, self.first, answer)


@dataclass(slots=True)
class NoteWork:
    """A note, and what to answer its sender."""

    note: notes.AnyNote
    desk: Desk | None = None
    peer: bytes = NOBODY
    epoch: int = 0
    first: int = 0
    answer: OrderAnswer | None = None

    def finish(self, applier: JournalApplier, tokens: Sealer) -> Answer | None:
        """Fold it."""
        applier.note(self.note)
        if self.desk is not None:
            applier.registry.numbered(self.desk.agent.index, self.epoch, self.first, 1)
        if self.desk is None or self.answer is None or self.peer == NOBODY:
            return None
        return _answered(self.desk, self.peer, self.epoch, self.first, self.answer)


def _handle_of(market: Market, command: commands.AnyCommand) -> int:
    """Return the handle of what an accepted command registered; 0 when it registers nothing."""
    match command:
        case commands.Campaign():
            buyer = market.names.handle("buyer", command.buyer)
            return market.names.handle("campaign", command.campaign, buyer)
        case (
            commands.Operator() | commands.Buyer() | commands.Model() | commands.Metro()
            | commands.Site() | commands.Deal() | commands.Adapter()
        ):  # fmt: skip
            kind = commands.name_of(command)
            return market.names.handle(kind, getattr(command, kind))
        case _:
            return 0


def _answered(desk: Desk, peer: bytes, epoch: int, first: int, answer: OrderAnswer) -> Answer:
    message = frames.encode_message(answer, first, desk.session.version)
    return Answer(desk, peer, epoch, first, 1, message)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros(0, FILL_RECORD)


def runs_of(codes: np.ndarray) -> list[tuple[int, int]]:
    """Return (first, end) of the stretches of records that were not refused."""
    edges = np.flatnonzero(np.diff(np.concatenate(([1], codes != 0, [1]))))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
