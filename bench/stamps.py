"""The time of one auction inside a batch: a compiled loop around the core's own entry point.

A call from Python costs more than an auction, so each bid is stamped inside compiled code, by the
processor's time stamp counter; its frequency is taken from the same run. Every bid goes through
`run` as a frame of one, with its share of what falls due: nothing of the core is left out. Between
two stamps the events are mixed into a digest.
"""

import time
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped,unused-ignore]
from numba.core import types
from numba.extending import intrinsic

from matching_core import columns as k
from matching_core.event_rows import EVENT_WORDS
from matching_core.jit import JIT_DISABLED, Array, bits_table, kernel
from matching_core.kernels.entry import run
from matching_core.market import Market
from schemas import records


@intrinsic
def _compiled_cycles(_context: Any) -> Any:
    def codegen(_context: Any, builder: Any, _signature: Any, _args: Any) -> Any:
        word = ir.IntType(64)
        counter = builder.module.declare_intrinsic(
            "llvm.readcyclecounter", fnty=ir.FunctionType(word, [])
        )
        return builder.call(counter, [])

    return types.int64(), codegen


_cycles = time.perf_counter_ns if JIT_DISABLED else _compiled_cycles
_RUN, _KIND, _WORDS = run, records.BID, EVENT_WORDS
_EVENTS = k.EVENTS
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: a multiplication by it loses nothing
_SHIFT = np.uint64(29)
_LEASE_NS = 1_000_000_000  # of the bids of W and R


class Stamped(NamedTuple):
    """ns per bid, int64[n], and the digest of all their events."""

    ns: Array
    digest: str


@kernel
def _each(
    s: Array,
    inbox: Array,
    batch: Array,
    member: int,
    at_ns: int,
    step_ns: int,
    first: int,
    spent: Array,
    mixed: Array,
) -> int:
    """Apply bids from `first` on one by one; returns how many were done, or where a table is too small."""
    for place in range(first, batch.shape[0]):
        for byte in range(batch.shape[1]):
            inbox[byte] = batch[place, byte]
        before = _cycles()
        made = _RUN(s, _KIND, 1, member, 0, 0, at_ns + place * step_ns)
        spent[place] = _cycles() - before
        if made < 0:
            spent[place] = made
            return int(place)
        events = bits_table(s, _EVENTS, _WORDS)
        for row in range(made):
            for word in range(_WORDS):
                value = (mixed[0] ^ events[row, word]) * _FACTOR
                mixed[0] = value ^ (value >> _SHIFT)
    return int(batch.shape[0])


def time_each(market: Market, frames: list[tuple[int, Array]], frame_ns: int) -> Stamped:
    """Apply frames of bids, time passing evenly, `frame_ns` a frame, and take the time of each bid.

    The frames of the first second, or half of all if that is less, are applied but not measured: until
    then whole frames of leases end at one instant, which began together before bids came one by one.
    """
    skipped = min(-(-_LEASE_NS // frame_ns), len(frames) // 2)
    measured = []
    mixed = np.zeros(1, np.uint64)
    cycles, begun = 0, 0.0
    for number, (buyer, records_of_frame) in enumerate(frames):
        batch = records_of_frame.view(np.uint8).reshape(len(records_of_frame), -1)
        spent = np.zeros(len(batch), np.int64)
        at_ns, step_ns, done = market.at_ns, frame_ns // len(batch), 0
        while True:
            columns = market.columns
            inbox = columns[k.INBOX].reshape(-1)
            done = _each(columns.s, inbox, batch, buyer, at_ns, step_ns, done, spent, mixed)
            if done == len(batch):
                break
            market._grow(-int(spent[done]))  # noqa: SLF001  # as Market.apply_frame does
        if number < skipped or number == 0:
            cycles, begun = _now(), time.perf_counter()
            continue
        measured.append(spent)
    per_cycle = (time.perf_counter() - begun) * 1e9 / (_now() - cycles)
    return Stamped((np.concatenate(measured) * per_cycle).astype(np.int64), f"{int(mixed[0]):016x}")


@kernel
def _now() -> int:
    return int(_cycles())
