"""Compile or load every kernel of an exchange's processes: the core's, then the exchange's own.

As `matching_core.warm`: readiness waits for it, and no bid ever does.
"""

from collections.abc import Callable
from typing import Any, Final

from numba.core import types

from exchange.kernels import admit, answer, copy, fold, pack, seal, unpack
from matching_core import warm

_ONE: Final = "int64[::1]"
_TWO: Final = "int64[:,::1]"
_WORDS: Final = "uint64[::1]"
_STATES: Final = "uint64[:,::1]"
_KNOWN: Final = "uint8[::1]"
_LINES: Final = types.Array(types.int64, 2, "C")
_READ: Final = types.Array(types.int64, 1, "C", readonly=True)  # bytes, as the disk gave them
# Every kernel with the types it is called with. What reads a peer's bytes in place is compiled for them
# where its table is made (exchange.admission.fields).
KERNELS: Final[tuple[tuple[Any, Any], ...]] = (
    (
        admit.admit_bids,
        f"({_TWO}, uint8[:,::1], {_TWO}, int64[:], {_ONE}, {_TWO}, {_TWO}, {_ONE}, {_TWO})",
    ),
    (pack.pack_frames, f"({_TWO}, int64, int64, {_TWO}, {_ONE}, {_ONE})"),
    (
        answer.answer_bids,
        (
            f"({_TWO}, {_ONE}, {_TWO}, {_TWO}, {_ONE}, int64, {_TWO}, int64, int64, {_STATES}, {_KNOWN}, "
            f"{_WORDS}, {_WORDS}, {_ONE}, {_TWO}, {_ONE}, {_ONE}, {_ONE})"
        ),
    ),
    (copy.place_copies, f"({_TWO}, int64, {_TWO}, {_ONE})"),
    (
        copy.write_copies,
        f"({_TWO}, int64, {_TWO}, {_TWO}, {_ONE}, uint8[:,::1], int64, {_ONE}, uint8[:,::1])",
    ),
    (
        fold.fold,
        (f"({_TWO}, {_ONE}, {_TWO}, {_ONE}, {_TWO}, {_ONE}, int32[:,::1], int32[:,::1], {_KNOWN})"),
    ),
    (
        unpack.take_frames,
        (_READ, types.int64, types.Array(types.int64, 1, "C"), _LINES, _LINES),
    ),
    (seal.start_state, f"({_WORDS}, {_STATES}, int64, {_WORDS})"),
    (seal.seal_all, f"({_TWO}, int64, {_STATES}, {_WORDS}, {_WORDS}, uint32[:,::1])"),
)


def warm_up(progress: Callable[[str, int, int], None] | None = None) -> None:
    """Compile every kernel or load it from the cache; `progress(name, done, total)` before each."""
    warm.warm_up(progress, (*warm.KERNELS, *KERNELS))
