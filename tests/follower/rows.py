"""Event rows made by hand, for tests that need no market."""

import numpy as np

from exchange.follower.event_files import MONEY_ROW, Batch, NameRow
from matching_core.event_rows import EVENT_ROW
from schemas.records import EVENT_TYPES


def event(kind, seq, index=0, **columns):
    row = np.zeros(1, EVENT_ROW)
    row["type"] = EVENT_TYPES.index(kind)
    row["seq"], row["index"], row["at"] = seq, index, 1_000 * seq
    for name, value in columns.items():
        row[name] = value
    return row


def money(seq, amount, role=1, member=1):
    row = np.zeros(1, MONEY_ROW)
    row[0] = (seq, 1_000 * seq, role, member, seq, amount)
    return row


def batch(begin, end, first_seq, next_seq, events=(), moneys=(), names=()):
    return Batch(
        begin,
        end,
        first_seq,
        next_seq,
        list(names),
        np.concatenate([np.zeros(0, MONEY_ROW), *moneys]),
        np.concatenate([np.zeros(0, EVENT_ROW), *events]),
    )


def batches(count):
    """`count` batches of every shape: with and without names, money and events."""
    made = []
    for n in range(count):
        seq = 1 + 3 * n
        made.append(
            batch(
                80 * n,
                80 * (n + 1),
                seq,
                seq + 3,
                [event("fill", seq + i, fill=100 * n + i, price=n) for i in range(n % 4)],
                [money(seq, 5 + n)] if n % 2 else [],
                [NameRow(seq, "buyer", n + 1, f"büyer {n}", group="g")] if n % 3 == 0 else [],
            )
        )
    return made


def same(left, right):
    return (
        left[:5] == right[:5]
        and left.money.tobytes() == right.money.tobytes()
        and left.events.tobytes() == right.events.tobytes()
    )
