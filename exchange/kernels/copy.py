"""Members' copies of a batch of events, written in place and grouped by member.

    rows in order of (seq, index) ─► place: how many copies each member gets, so where its own begin
                                  ─► write: each row's copy into the next place of its member

What a copy carries is a list of moves per (type, role), made from the table of `follower.redaction`: a
column of the row, shifted and masked, to some bytes of the record. What no move names stays zero.
"""

from typing import Final

import numpy as np

from matching_core import event_rows as er
from matching_core.jit import Array, inner, kernel
from schemas import records

# Columns of a move.
OFFSET, BYTES, COLUMN, SHIFT, MASK, CONTESTED_ONLY = range(6)
MOVE_WORDS: Final = 6
ALL_BITS: Final = -1

assert records.EVENT_RECORD.itemsize % 8 == 0
_TYPE: Final = er.COLUMNS.index("type")
_ATTRIBUTES: Final = er.COLUMNS.index("attributes")
_FILL: Final = records.EVENT_TYPES.index("fill")
_TOKEN_BYTES: Final = records.TOKEN_BYTES


@kernel
def place_copies(rows: Array, role_column: int, spans: Array, starts: Array) -> int:
    """Count copies: `starts` int64[members + 2], zeros, becomes where each member's begin.

    Args:
        rows: int64[n, EVENT_WORDS].
        role_column: column of the handle of whose copies these are.
        spans: int64[types, 2], first move of a type and the one behind its last; empty: no copy.
        starts: filled; member m's copies stand at starts[m] to starts[m + 1] − 1.
    """
    for place in range(rows.shape[0]):
        kind, member = rows[place, _TYPE], rows[place, role_column]
        if member > 0 and spans[kind, 1] > spans[kind, 0]:
            starts[member + 1] += 1
    for member in range(1, starts.shape[0]):
        starts[member] += starts[member - 1]
    return int(starts[starts.shape[0] - 1])


@inner
def _move(
    row: Array, moves: Array, first: int, end: int, words: Array, halves: Array, copy: Array
) -> None:
    """Fill one copy, uint8[bytes] of zeros, which `words` and `halves` see by eight and four bytes."""
    for number in range(first, end):
        move = moves[number]
        if move[CONTESTED_ONLY] == 1 and (row[_ATTRIBUTES] >> er.CONTESTED_BIT) & 1 == 0:
            continue
        value = (row[move[COLUMN]] >> move[SHIFT]) & move[MASK]
        offset = move[OFFSET]
        if move[BYTES] == 8 and offset & 7 == 0:
            words[offset >> 3] = value
        elif move[BYTES] == 4 and offset & 3 == 0:
            halves[offset >> 2] = value
        else:
            for octet in range(move[BYTES]):
                copy[offset + octet] = (value >> (8 * octet)) & 255


@kernel
def write_copies(
    rows: Array, role_column: int, spans: Array, moves: Array, next_place: Array, tokens: Array,
    token_offset: int, members: Array, copies: Array,
) -> None:  # fmt: skip
    """Write every copy.

    Args:
        rows, role_column, spans: as `place_copies` had them.
        moves: int64[moves, 6], columns as above.
        next_place: the `starts` that it made; taken forward.
        tokens: uint8[fills, 60] of all fills of `rows` in order; or none, where none is told.
        token_offset: where a copy carries it.
        members: int64[copies], filled: whose each is.
        copies: uint8[copies, bytes], zeros, filled; whole words, so that they begin with one.
    """
    words, halves = copies.view(np.int64), copies.view(np.int32)
    fills = 0
    for place in range(rows.shape[0]):
        row = rows[place]
        kind, member = row[_TYPE], row[role_column]
        if member > 0 and spans[kind, 1] > spans[kind, 0]:
            at = next_place[member]
            next_place[member] += 1
            members[at] = member
            first, end = spans[kind, 0], spans[kind, 1]
            _move(row, moves, first, end, words[at], halves[at], copies[at])
            if kind == _FILL and tokens.shape[0] > 0:
                for octet in range(_TOKEN_BYTES):
                    copies[at, token_offset + octet] = tokens[fills, octet]
        if kind == _FILL:
            fills += 1
