"""Compile or load every kernel before the first command, and say how far it is.

A cold start compiles for half a minute and keeps the machine code on disk; a second one loads it in a
fraction of a second. Readiness waits for this: no bid ever does.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from matching_core.jit import JIT_DISABLED
from matching_core.kernels import bounds, campaigns, entry, hopes, names, wheel, words

_STATE: Final = "int64[::1]"
# Every kernel with the types that Market calls it with: the signature is all that is compiled for.
KERNELS: Final[tuple[tuple[Any, str], ...]] = (
    (entry.run, f"int64({_STATE}, int64, int64, int64, int64, int64, int64)"),
    (entry.act, f"int64({_STATE}, int64, int64, int64)"),
    (entry.reject, f"int64({_STATE}, int64, int64)"),
    (entry.find, f"int64({_STATE}, int64, int64)"),
    (entry.rehash, f"int64({_STATE}, int64, {_STATE})"),
    (campaigns.compile_campaign, f"int64({_STATE}, int64)"),
    (campaigns.compile_site, f"int64({_STATE}, int64)"),
    (campaigns.rule_of, f"int64({_STATE}, int64, int64)"),
    (words.word_of_offer, f"uint64({_STATE}, int64)"),
    (bounds.mix_groups, f"int64({_STATE}, int64)"),
    (words.campaign_fails, f"uint64({_STATE}, int64)"),
    (hopes.note_peers, f"int64({_STATE}, int64)"),
    (hopes.bit_of_peer, f"int64({_STATE}, int64)"),
    (names.count_made, f"int64({_STATE}, {_STATE}, {_STATE}, {_STATE})"),
    (wheel.next_list_ns, f"int64({_STATE})"),
)


def warm_up(
    progress: Callable[[str, int, int], None] | None = None,
    kernels: Sequence[tuple[Any, Any]] = KERNELS,
) -> None:
    """Compile every kernel or load it from the cache; `progress(name, done, total)` before each.

    The cache is NUMBA_CACHE_DIR, else `__pycache__` beside the package, else `~/.cache/curb`; in it a
    folder per version of the sources (matching_core/jit.py).
    """
    total = len(kernels)
    for done, (function, signature) in enumerate(kernels):
        if progress is not None:
            progress(function.__name__, done, total)
        if not JIT_DISABLED:
            function.compile(signature)
    if progress is not None:
        progress("ready", total, total)
