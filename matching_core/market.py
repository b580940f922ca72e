"""The compiled market: commands in, rows of events out (MARKET.md, MARKET_FILE.md).

Pure and deterministic: the same commands give the same events and the same digest, in any batches,
on any machine. This class validates and allocates; what the market does stands in kernels/ for hot
commands and in rare.py for the others. It equals `matching_core.reference` event for event.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import numpy as np

from matching_core import audit, inspect, rows
from matching_core import columns as k
from matching_core.digest import digest
from matching_core.event_rows import COLUMNS
from matching_core.jit import Array
from matching_core.kernels.entry import CLOCK, MANY, rehash, reject, run
from matching_core.rare import apply_rare
from matching_core.registry import Names
from matching_core.tables import Columns
from matching_core.twin import (
    RARE_COMMAND_BASE,
    Frame,
    event_of,
    from_record,
    to_frame,
)
from schemas import limits
from schemas.commands import COMMANDS, AnyCommand
from schemas.events import AnyEvent
from schemas.reasons import ACCEPTED
from schemas.records import COMMAND_RECORDS, COMPLETE

__all__ = ["Capacity", "Market"]

NEVER_NS: Final = limits.AT_NS_MAX
_MAPS: Final = (k.NAMES, k.AGENTS)
_OFFERS_PER_SHELF: Final = k.SHELF_PLACES // 4  # where few of a model's are of one price
_RARE_NUMBER: Final = {kind: RARE_COMMAND_BASE + place for place, kind in enumerate(COMMANDS)}


class Capacity(NamedTuple):
    """How much a market has room for before its tables grow; a size too small costs only time."""

    offers: int = 32
    fills: int = 64
    rests: int = 32


class Market:
    """The state of one market and the only way to change it.

    Attributes:
        columns: the tables that kernels work on.
        names: the names of what handles number.
        audit_every_command: recount money and slots after each command (tests).
    """

    def __init__(self, capacity: Capacity = Capacity()) -> None:  # noqa: B008  # immutable
        self.columns = Columns()
        self.names = Names()
        self.audit_every_command = False
        s = self.columns.s
        s[k.TAKE], s[k.RENT] = limits.TAKE_RATE_PPM_START, limits.RENT_PPM_PER_S_START
        s[k.TOLERANCE], s[k.SETTLE] = limits.TOLERANCE_PPM_START, limits.SETTLE_US_START
        s[k.DELIVER], s[k.DISPUTE] = limits.DELIVER_US_START, limits.DISPUTE_US_START
        self.columns.keep_terms()
        self.columns.ensure(k.OFFERS, capacity.offers)
        self.columns.ensure(k.FILLS, capacity.fills)
        self.columns.ensure(k.FILL_INDEX, capacity.fills)
        self.columns.ensure(k.RESTS_TABLE, capacity.rests)

    def make_room(self, more: Capacity) -> None:
        """Let tables have room for so many more than they hold, so that nothing waits for a copy.

        It costs addresses, and memory only as rows are used. Tables then grow where they stand.
        """
        columns = self.columns
        s = columns.s
        columns.ensure(k.OFFERS, int(s[k.OFFER_ROWS]) + more.offers)
        columns.ensure(k.SHELVES, int(s[k.SHELF_ROWS]) + more.offers // _OFFERS_PER_SHELF)
        columns.ensure(k.FILLS, int(s[k.FILL_ROWS]) + more.fills)
        columns.ensure(k.FILL_INDEX, int(s[k.FILLS_MADE]) + more.fills)
        columns.ensure(k.RESTS_TABLE, int(s[k.REST_ROWS]) + more.rests)
        columns.ensure(k.EVENTS, int(s[k.STANDING] + s[k.RESTS] + 2 * s[k.OPEN_FILLS]) + more.fills)

    # ------------------------------------------------------------------------- state in short
    @property
    def seq(self) -> int:
        """The number of the last command, 0 before the first."""
        return int(self.columns.s[k.SEQ])

    @property
    def at_ns(self) -> int:
        """The time of the last command, 0 before the first."""
        return int(self.columns.s[k.AT])

    # ------------------------------------------------------------------------- commands
    def apply_frame(
        self, kind: int, records: Array, member: int, agent: int, at_ns: int, role: int = 0
    ) -> Array:
        """Apply hot records of one type from one sender; record i is command `seq + 1 + i`.

        Args:
            kind: number of the type in `schemas.records`.
            records: contiguous, of the type's dtype; values within their limits.
            member: handle of the sending buyer (bids, cancels of bids, release, its complete) or
                operator (start, decline, its complete); ignored elsewhere.
            agent: number of the sender's agent.
            at_ns: time of all of them, not before the last command's.
            role: of a `complete`: 0 from the buyer, 1 from the operator.

        Returns:
            The events as rows int64[n, EVENT_WORDS]: a view that the next call overwrites.

        Raises:
            ValueError: `at_ns` is smaller than the last command's; nothing happened.
        """
        assert records.dtype == COMMAND_RECORDS[kind]
        if self.audit_every_command and len(records) > 1:
            parts = [
                self.apply_frame(kind, records[i : i + 1], member, agent, at_ns, role).copy()
                for i in range(len(records))
            ]
            return np.concatenate(parts)
        self._put(records)
        matrix = self._run(kind, len(records), member, agent, role, at_ns)
        if self.audit_every_command:
            self.audit()
        return matrix

    def apply_frames(self, kind: int, records: Array, senders: Array, at_ns: int) -> Array:
        """Apply hot records of one type from several senders, as `apply_frame` would one by one.

        `senders` int64[n, 2]: member and agent of each record.
        """
        if self.audit_every_command or kind == COMPLETE:
            parts = [
                self.apply_frame(kind, records[i : i + 1], member, agent, at_ns).copy()
                for i, (member, agent) in enumerate(senders.tolist())
            ]
            return np.concatenate(parts)
        columns = self.columns
        # `run` asks for room for one new agent, and here each record may come from another.
        while 2 * (columns.s[k.AGENT_ROWS] + len(records)) > columns.s[k.AGENTS + 1]:
            self._grow(k.AGENTS)
        self._put(records)
        columns.ensure(k.SENDERS, len(records))
        columns[k.SENDERS][: len(records)] = senders
        return self._run(kind, len(records), 0, MANY, 0, at_ns)

    def apply(self, command: AnyCommand) -> Array:
        """Apply one command by names, numbered `seq + 1`; events as `apply_frame` returns them.

        Raises:
            ValueError: `at` is smaller than the last command's; nothing happened.
        """
        frame = self.to_frame(command)
        if frame is not None:
            kind, records, member, agent, role = frame
            return self.apply_frame(kind, records, member, agent, command.at, role)
        self._run(CLOCK, 1, 0, 0, 0, command.at)
        reason = apply_rare(self, command)
        s = self.columns.s
        if reason != ACCEPTED:
            reject(s, _RARE_NUMBER[type(command)], reason)
        if self.audit_every_command:
            self.audit()
        return self.columns[k.EVENTS][: s[k.EVENTS_COUNT]]

    def apply_command(self, command: AnyCommand) -> list[AnyEvent]:
        """Apply one command by names and return its events as Structs, in order."""
        return self.events(self.apply(command))

    def _put(self, records: Array) -> None:
        """Copy records into the inbox."""
        content = records.view(np.uint8).reshape(-1)
        inbox = self.columns[k.INBOX].reshape(-1)
        if len(content) > len(inbox):
            self.columns.ensure(k.INBOX, -(-len(content) // k.INBOX_BYTES_PER_RECORD))
            inbox = self.columns[k.INBOX].reshape(-1)
        inbox[: len(content)] = content

    def _run(self, kind: int, count: int, member: int, agent: int, role: int, at_ns: int) -> Array:
        columns = self.columns
        s = columns.s
        if at_ns < s[k.AT]:
            raise ValueError("at: smaller than that of the command before")
        made = run(s, kind, count, member, agent, role, at_ns)
        while made < 0:
            self._grow(-made)
            made = run(s, kind, count, member, agent, role, at_ns)
        return columns[k.EVENTS][:made]

    def _grow(self, at: int) -> None:
        """Let a table grow that a frame found too small."""
        columns = self.columns
        if at not in _MAPS:
            columns.ensure(at, int(columns.s[at + 1]) + 1)
            return
        old = columns.double_map(at)
        rehash(columns.s, at, np.array([old.ctypes.data, old.shape[0]], np.int64))

    # ------------------------------------------------------------------------- both forms
    def events(self, matrix: Array) -> list[AnyEvent]:
        """Return rows of events as Structs."""
        return [
            event_of(self.names, dict(zip(COLUMNS, row, strict=True))) for row in matrix.tolist()
        ]

    def to_frame(self, command: AnyCommand) -> Frame | None:
        """Return a hot command as (kind, records[1], member, agent, role); None for a rare one."""
        return to_frame(self.names, command, self._intern_if_known, self._operator_of_site)

    def from_record(
        self, kind: int, record: np.void, member: int, agent: int, role: int, at_ns: int
    ) -> AnyCommand:
        """Return one record of a frame as the command by names that it is.

        Raises:
            IndexError: it names a handle that was never given.
        """
        return from_record(self.names, kind, record, member, agent, role, at_ns)

    def intern_adapter_set(self, adapters: tuple[str, ...]) -> int:
        """Return the handle of a set of adapters, giving it the next one when it is new.

        Raises:
            KeyError: an adapter is not known.
        """
        handle = self.names.handle("adapter_set", adapters)
        if handle or not adapters:
            return handle
        items = [self.names.handle("adapter", adapter) for adapter in adapters]
        if not all(items):
            raise KeyError(adapters[items.index(0)])
        handle = self.names.add("adapter_set", adapters, None)
        columns = self.columns
        first = int(columns.s[k.SET_ITEM_COUNT])
        columns.ensure(k.SETS, handle + 1)
        columns.ensure(k.SET_ITEMS, first + len(items))
        columns[k.SETS][handle] = (first, len(items))
        columns[k.SET_ITEMS][first : first + len(items), 0] = items
        columns.s[k.SET_ITEM_COUNT] = first + len(items)
        columns.s[k.SET_COUNT] = handle
        return handle

    def _intern_if_known(self, adapters: tuple[str, ...]) -> int:
        if all(self.names.handle("adapter", adapter) for adapter in adapters):
            return self.intern_adapter_set(adapters)
        return 0

    def _operator_of_site(self, site: int) -> int:
        return int(self.columns[k.SITES][site, k.SITE_OPERATOR])

    def handle_count(self, kind: str) -> int:
        """Return the highest handle given of a kind (matching_core.registry.KINDS)."""
        return self.names.count(kind)

    def detail(self, kind: str, handle: int) -> AnyCommand | None:
        """Return the last accepted command of an entity; None for nobody and for what ended."""
        return self.names.detail(kind, handle)

    # ------------------------------------------------------------------------- questions
    def next_due_ns(self) -> int:
        """Return when the next expiry may be: never too late, too early after a renewal."""
        return inspect.next_due_ns(self.columns)

    @property
    def campaign_buyers(self) -> Array:
        """Buyer's handle by campaign handle, 0 for none and for an ended one; a view, soon stale."""
        return self.columns[k.CAMPAIGNS][:, k.CAMPAIGN_BUYER]

    def last_bid(self, buyer: int, agent: int) -> int:
        """Return the number of the last accepted bid of a buyer's agent, 0 if there was none."""
        return inspect.last_bid(self.columns, buyer, agent)

    def fills_made(self, sites: Array, offers: Array) -> Array:
        """Return for names (site handle, offer number) how many fills were ever made: int64[n]."""
        return inspect.fills_made(self.columns, sites, offers)

    def site_states(self, sites: Sequence[int]) -> dict[int, list[inspect.SiteOffer]]:
        """Return of each site (handles) its offers: number, fills made, fills that have not ended."""
        return inspect.site_states(self.columns, sites)

    def bid_state(self, buyer: int, agent: int, bid: int) -> tuple[bool, int, list[int]]:
        """Return (its number was used, units at rest, numbers of its fills that have not ended)."""
        return inspect.bid_state(self.columns, buyer, agent, bid)

    def fill_state(self, fill: int) -> inspect.FillState | None:
        """Return whose a fill is and what became of it; None when no fill has that number."""
        return inspect.fill_state(self.columns, fill)

    def rests_of(self, buyer: int, agent: int) -> list[int]:
        """Return the numbers of an agent's bids at rest, in order of arrival."""
        return inspect.rests_of(self.columns, buyer, agent)

    def book(self) -> Array:
        """Return the live offers as a structured array `inspect.BOOK_ROW`, by (site, offer)."""
        return inspect.book(self.columns)

    def rtt_us(self) -> Array:
        """Return the p99 round trips in µs as int64[metros + 1, sites + 1]; negative: unreachable."""
        return inspect.rtt_us(self.columns)

    def margins_us(self) -> Array:
        """Return the verifier's latency margin of each site in µs as int64[sites + 1]."""
        return inspect.margins_us(self.columns)

    def counts(self) -> dict[str, int]:
        """Return how many there are of what, by name."""
        return inspect.counts(self.columns)

    # ------------------------------------------------------------------------- the whole of it
    def audit(self) -> None:
        """Recount money, slots, lists and bitmaps from their smallest parts.

        Raises:
            AssertionError: they disagree: a defect, and the market is not to be used on.
        """
        audit.check_everything(self.columns)

    def digest(self) -> str:
        """Return the digest of the whole state, the same as the reference's."""
        return digest(rows.rows(self.columns, self.names))

    def snapshot(self) -> dict[str, Array | bytes]:
        """Return copies of everything that is state, for `restore` in the same build."""
        return {**self.columns.snapshot(), "names_of_handles": self.names.snapshot()}

    @classmethod
    def restore(cls, snapshot: dict[str, Array | bytes]) -> "Market":
        """Make the market again that `snapshot` was taken of."""
        market = cls()
        tables = {name: table for name, table in snapshot.items() if name != "names_of_handles"}
        market.columns = Columns.restore(cast("dict[str, Array]", tables))
        market.names = Names.restore(cast("bytes", snapshot["names_of_handles"]))
        return market
