"""The market's tables: their memory, how they grow, and how they are kept and made again.

What stands where in them is said in columns.py.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from matching_core import columns as k
from matching_core.event_rows import EVENT_WORDS
from matching_core.lines import Rooms, lines

Array = npt.NDArray[Any]

_I64, _U64, _I32, _U16, _U8 = np.int64, np.uint64, np.int32, np.uint16, np.uint8
# position in `s`: (name in a snapshot, dtype, words of a row or the scalar that says them, rows at
# the start). Rows are a power of two in maps.
_TABLES: Final[dict[int, tuple[str, Any, int | tuple[int, ...], int]]] = {
    k.OPERATORS: ("operators", _I64, k.OPERATOR_ROW, 8),
    k.BUYERS: ("buyers", _I64, k.BUYER_ROW, 8),
    k.MODELS: ("models", _I64, k.MODEL_ROW, 8),
    k.ADAPTERS: ("adapters", _I64, k.ADAPTER_ROW, 8),
    k.SITES: ("sites", _I64, k.SITE_ROW, 64),
    k.DEALS: ("deals", _I64, k.DEAL_ROW, 8),
    k.DEAL_BUYERS: ("deal_buyers", _U64, (k.BUYER_WORDS,), 8),
    k.SETS: ("sets", _I64, k.SET_ROW, 8),
    k.SET_ITEMS: ("set_items", _I64, 1, 64),
    k.ASNS: ("asns", _I64, 1, 64),
    k.CAMPAIGNS: ("campaigns", _I64, k.CAMPAIGN_ROW, 8),
    k.CAMPAIGN_OPERATORS: ("campaign_operators", _U64, (k.OPERATOR_WORDS,), 8),
    k.SITE_RULES: ("site_rules", _U8, (k.SITE_CAPACITY,), 8),
    k.CAMPAIGN_SITES: ("campaign_sites", _U64, (k.SITE_WORDS,), 8),
    k.MODEL_SITES: ("model_sites", _U64, (k.SITE_WORDS,), 8),
    k.STALL_OF: ("stall_of", _I32, (k.SITE_CAPACITY,), 8),
    k.STALLS: ("stalls", _I32, k.STALL_LINE, 16),
    k.FREE_STALLS: ("free_stalls", _I64, 1, k.STALL_SIZES),
    k.OPEN_SITES: ("open_sites", _U64, (k.SITE_WORDS,), 1),
    k.RTT: ("rtt", _I32, (k.SITE_CAPACITY,), 8),
    k.NEAR: ("near", _U64, (k.SITE_WORDS,), 8 * k.BANDS),
    k.LANES: ("lanes", _I64, k.LANE_WORDS, 8 * k.LANES_PER_MODEL),
    k.DIRECTORY: ("directory", _I64, k.ENTRY_ROW, 64),
    k.SHELVES: ("shelves", _I64, k.SHELF_ROW, 8),
    k.SHELF_SITES: ("shelf_sites", _I32, k.SHELF_PLACES, 8),
    k.SHELF_OFFERS: ("shelf_offers", _I32, k.SHELF_PLACES, 8),
    k.WORDS: ("words", _U64, k.SHELF_PLACES, 8),
    k.VIEWS: ("views", _U64, k.VIEW_ROW, 64),
    k.VIEW_RANGES: ("view_ranges", _I64, k.VIEW_RANGE_ROW, 8),
    k.NAMES: ("names", _I64, k.MAP_ROW, 64),
    k.LEAVES: ("leaves", _I32, k.LEAF_NAMES, 16),
    k.LEAF_STATES: ("leaf_states", _I32, k.LEAF_STATE_ROW, 16),
    k.AGENTS: ("agents", _I64, k.MAP_ROW, 64),
    k.OFFERS: ("offers", _I64, k.OFFER_ROW, 32),
    k.ASKS: ("asks", _I64, k.ASK_ROW, 32),
    k.RESTS_TABLE: ("rests", _I64, k.REST_ROW, 32),
    k.FILLS: ("fills", _I64, k.FILL_ROW, 64),
    k.FILL_WAITS: ("fill_waits", _I64, k.WAIT_ROW, 64),
    k.FILL_PROGRESS: ("fill_progress", _I64, k.PROGRESS_ROW, 64),
    k.TERMS_TABLE: ("terms", _I64, k.TERM_ROW, 8),
    k.CONCERNED_PLACES: ("concerned_places", _I64, 1, 64),
    k.OFFER_PLACES: ("offer_places", _I64, 1, 32),
    k.WHEEL: ("wheel", _I64, k.WHEEL_ROW, k.WHEEL_LISTS),
    k.FILL_INDEX: ("fill_index", _I32, k.FILL_INDEX_ROW, 64),
    k.SUMS: ("sums", _U64, 1, 1),
    k.WINNERS: ("winners", _I64, k.WINNER_ROW, 32),
    k.SURVIVORS: ("survivors", _I64, k.SURVIVOR_ROW, k.SURVIVORS_MAX),
    k.CANDIDATES: ("candidates", _I64, k.CANDIDATE_ROW, k.CANDIDATES_MAX),
    k.AHEAD: ("ahead", _I64, 1, k.AHEAD_ROWS),
    k.EVENTS: ("events", _I64, EVENT_WORDS, 128),
    k.INBOX: ("inbox", _U8, k.INBOX_BYTES_PER_RECORD, 16),
    k.SENDERS: ("senders", _I64, k.SENDER_ROW, 16),
    k.OFFER_HEAP: ("offer_heap", _I64, k.HEAP_WORDS, 32),
    k.REST_HEAP: ("rest_heap", _I64, k.HEAP_WORDS, 32),
    k.LEASE_HEAP: ("lease_heap", _I64, k.HEAP_WORDS, 64),
    k.SETTLE_HEAP: ("settle_heap", _I64, k.HEAP_WORDS, 64),
    k.DISPUTE_HEAP: ("dispute_heap", _I64, k.HEAP_WORDS, 64),
    k.CONCERNED_HEAP: ("concerned_heap", _I64, k.HEAP_WORDS, 64),
    k.CANDIDATE_HEAP: ("candidate_heap", _I64, k.HEAP_WORDS, 32),
}
# What grows together: a heap has as many places as the table whose rows it orders.
_GROWS_WITH: Final[dict[int, tuple[int, ...]]] = {
    k.OFFERS: (k.ASKS, k.OFFER_PLACES),
    k.LEAVES: (k.LEAF_STATES,),
    k.SHELVES: (k.SHELF_SITES, k.SHELF_OFFERS, k.WORDS),
    k.RTT: (k.NEAR,),
    k.RESTS_TABLE: (k.REST_HEAP, k.CANDIDATE_HEAP, k.WINNERS),
    k.FILLS: (
        k.LEASE_HEAP,
        k.SETTLE_HEAP,
        k.DISPUTE_HEAP,
        k.CONCERNED_HEAP,
        k.FILL_WAITS,
        k.FILL_PROGRESS,
        k.CONCERNED_PLACES,
    ),
    k.DEALS: (k.DEAL_BUYERS,),
    k.MODELS: (k.LANES, k.MODEL_SITES, k.STALL_OF),
    k.CAMPAIGNS: (k.CAMPAIGN_OPERATORS, k.SITE_RULES, k.CAMPAIGN_SITES, k.VIEW_RANGES),
}
# What a book is made of: once it is large, half of it in reserve would be most of its memory.
_OF_OFFERS: Final = (k.OFFERS, k.SHELVES, k.DIRECTORY, k.LEAVES, k.STALLS)
_DOUBLED_ROWS: Final = 2_048
_HEAP_SIZE: Final = 2  # words behind a heap's position in `s`
# Where `s` says the last row that was ever used, or the first that was not: the rest is room.
_USED: Final[dict[int, int]] = {
    **dict.fromkeys((k.OFFERS, k.ASKS, k.OFFER_PLACES), k.OFFER_ROWS),
    **dict.fromkeys((k.SHELVES, k.SHELF_SITES, k.SHELF_OFFERS, k.WORDS), k.SHELF_ROWS),
    **dict.fromkeys((k.LEAVES, k.LEAF_STATES), k.LEAF_ROWS),
    **dict.fromkeys((k.FILLS, k.FILL_WAITS, k.FILL_PROGRESS, k.CONCERNED_PLACES), k.FILL_ROWS),
    k.DIRECTORY: k.DIRECTORY_ROWS,
    k.STALLS: k.STALL_LINES,
    k.RESTS_TABLE: k.REST_ROWS,
    k.FILL_INDEX: k.FILLS_MADE,
}
_HEAPS: Final[dict[int, tuple[int, int, int]]] = {
    k.OFFER_HEAP: (k.OFFER_PLACES, 1, 0),
    k.REST_HEAP: (k.RESTS_TABLE, k.REST_ROW, k.REST_PLACE),
    k.LEASE_HEAP: (k.FILL_WAITS, k.WAIT_ROW, k.WAIT_PLACE),
    k.SETTLE_HEAP: (k.FILL_WAITS, k.WAIT_ROW, k.WAIT_PLACE),
    k.DISPUTE_HEAP: (k.FILL_WAITS, k.WAIT_ROW, k.WAIT_PLACE),
    k.CONCERNED_HEAP: (k.CONCERNED_PLACES, 1, 0),
    k.CANDIDATE_HEAP: (k.RESTS_TABLE, k.REST_ROW, k.REST_CANDIDATE),
}
_TRANSIENT: Final = (
    k.EVENTS,
    k.INBOX,
    k.SENDERS,
    k.WINNERS,
    k.SURVIVORS,
    k.CANDIDATES,
    k.AHEAD,
)  # mean nothing between two calls
_CACHES: Final = (k.VIEWS, k.VIEW_RANGES)  # may be forgotten at any time
_FILLER: Final = {k.RTT: k.UNREACHABLE}  # other new memory is 0


class Columns:
    """Own the tables and the vector `s` that kernels are given.

    A table that grew stands elsewhere: read `columns[k.AT]` again after any growth.
    """

    def __init__(self) -> None:
        self.s = np.zeros(k.STATE_WORDS, np.int64)
        s = self.s
        s[k.SITE_CAPACITY], s[k.SITE_WORDS] = 64, 1
        s[k.OPERATOR_WORDS] = s[k.BUYER_WORDS] = 1
        s[k.SHELF_ROWS] = s[k.VIEW_ROWS] = s[k.LEAF_ROWS] = s[k.STALL_LINES] = 1
        s[k.OFFER_ROWS] = s[k.REST_ROWS] = s[k.FILL_ROWS] = s[k.TERM_ROWS] = 1  # row 0 is nobody's
        s[k.SHELVES_FIRST] = k.SHELVES_FIRST_START
        self._tables: dict[int, Array] = {}
        self._rooms = Rooms()
        for at, (_, dtype, _, rows) in _TABLES.items():
            self._put(at, self._new(at, rows, self._words(at), dtype))
        for at, owner in _HEAPS.items():
            s[at + 3 : at + 6] = owner
        for at, heap_at in k.HEAP_OF_WAIT.items():
            s[at + k.WAIT_HEAP] = heap_at

    def __getitem__(self, at: int) -> Array:
        """Return the table whose address stands at `s[at]`, as an array of rows."""
        return self._tables[at]

    def _words(self, at: int) -> int:
        words = _TABLES[at][2]
        if isinstance(words, tuple):
            return int(self.s[words[0]]) * (words[1] if len(words) > 1 else 1)
        return words

    @staticmethod
    def _new(at: int, rows: int, words: int, dtype: Any) -> Array:
        table = lines(rows, words, dtype)
        if at in _FILLER:
            table.fill(_FILLER[at])
        return table

    def _put(self, at: int, table: Array) -> None:
        self._tables[at] = table
        self.s[at] = table.ctypes.data
        self.s[at + 1] = table.shape[0]

    def _resize(self, at: int, rows: int, words: int) -> None:
        old = self._tables[at]
        if at in _FILLER or at in _CACHES:
            new = self._new(at, rows, words, old.dtype)
        else:
            new = self._rooms.table(at, old, rows, words)
            if new.ctypes.data == old.ctypes.data:
                self._put(at, new)
                return
        if at == k.VIEWS:
            self._put(at, new)
            self.forget_views()
            return
        if at not in _TRANSIENT:
            new[: old.shape[0], : old.shape[1]] = old
        self._put(at, new)

    def ensure(self, at: int, rows: int) -> None:
        """Let a table, and what grows with it, have at least `rows` rows; doubles small ones."""
        capacity = int(self.s[at + 1])
        if rows <= capacity:
            return
        if at in _OF_OFFERS and rows > _DOUBLED_ROWS:
            capacity = max(rows, capacity + capacity // 4)
        while capacity < rows:
            capacity *= 2
        for part in (at, *_GROWS_WITH.get(at, ())):
            rows_each = {k.NEAR: k.BANDS, k.LANES: k.LANES_PER_MODEL}.get(part, 1)
            self._resize(part, rows_each * capacity, self._words(part))

    def widen(self, scalar: int, count: int) -> None:
        """Let tables as wide as SITE_CAPACITY, OPERATOR_WORDS or BUYER_WORDS have columns to `count`."""
        s = self.s
        per_unit = 1 if scalar == k.SITE_CAPACITY else 64
        if count < s[scalar] * per_unit:
            return
        while count >= s[scalar] * per_unit:
            s[scalar] *= 2
        s[k.SITE_WORDS] = s[k.SITE_CAPACITY] // 64
        for at in _TABLES:
            if self._words(at) != self._tables[at].shape[1]:
                self._resize(at, self._tables[at].shape[0], self._words(at))

    def narrow(self, at: int) -> Array:
        """Return a table of int64 words as int32 words, two for each."""
        return self._tables[at].view(_I32)

    def short(self, at: int) -> Array:
        """Return a table of int64 words as uint16 words, four for each."""
        return self._tables[at].view(_U16)

    def keep_terms(self) -> None:
        """Let fills be made by the rules that stand in `s` from now on."""
        s = self.s
        now = s[k.TAKE : k.DISPUTE + 1]
        rows = int(s[k.TERM_ROWS])
        kept = self._tables[k.TERMS_TABLE][1:rows, : len(now)]
        found = np.flatnonzero((kept == now).all(axis=1))
        if len(found):
            s[k.TERMS] = 1 + found[0]
            return
        self.ensure(k.TERMS_TABLE, rows + 1)
        self._tables[k.TERMS_TABLE][rows, : len(now)] = now
        s[k.TERMS], s[k.TERM_ROWS] = rows, rows + 1

    def forget_views(self) -> None:
        """Let every campaign look at every shelf anew."""
        self._tables[k.VIEW_RANGES].fill(0)
        self.s[k.VIEW_ROWS], self.s[k.VIEW_FLUSHES] = 1, 0

    def double_map(self, at: int) -> Array:
        """Put an empty map of twice the size in a map's place; returns the old one."""
        old = self._tables[at]
        self._put(at, lines(2 * old.shape[0], k.MAP_ROW, old.dtype))
        return old

    def snapshot(self) -> dict[str, Array]:
        """Return copies of all that is state: of each table the rows that were ever used.

        Addresses in `s` are meaningless there; how many rows a table has is said in `s`.
        """
        forgotten = _TRANSIENT + _CACHES
        kept = {
            _TABLES[at][0]: table[: self._used(at)].copy()
            for at, table in self._tables.items()
            if at not in forgotten
        }
        return kept | {"s": self.s.copy()}

    def _used(self, at: int) -> int:
        if at in _HEAPS:
            return int(self.s[at + _HEAP_SIZE]) + 1
        return int(self.s[_USED[at]]) + 1 if at in _USED else int(self.s[at + 1])

    @classmethod
    def restore(cls, snapshot: dict[str, Array]) -> "Columns":
        """Make the columns again that `snapshot` was taken of."""
        columns = cls()
        fresh = columns.s.copy()
        columns.s[:] = snapshot["s"]
        for at, (name, dtype, _, _) in _TABLES.items():
            columns.s[at : at + 2] = fresh[at : at + 2]
            if at in _TRANSIENT or at in _CACHES:
                rows = int(snapshot["s"][at + 1])
                columns._put(at, lines(rows, columns._words(at), dtype))
            else:
                used = snapshot[name]
                table = lines(int(snapshot["s"][at + 1]), used.shape[1], used.dtype)
                table[: used.shape[0]] = used
                columns._put(at, table)
        columns.forget_views()
        return columns
