"""The offers of one engine share it: together they may not promise more than it has.

An engine is one running inference server (or a group of replicas behind one queue) with a number of
requests it runs at once and a KV cache of so many tokens. It may be offered several times: as
tranches at different asks, as deals, as classes of context. Every slot of every one of them can be
filled at the same moment by requests as long as their offer allows, so ARCHITECTURE.md ("The edges")
asks for

    Σ slots × context_limit ≤ KV tokens free        Σ slots ≤ concurrency

over all offers of the engine. Whoever breaks it sells a slot twice; the adapter's runner refuses to.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol


class Share(Protocol):
    """What counts of an offer here; `schemas.commands.Offer` has it."""

    @property
    def site(self) -> str:
        """The site's name."""

    @property
    def offer(self) -> int:
        """The offer's number at the site."""

    @property
    def slots(self) -> int:
        """Identical slots offered."""

    @property
    def context_limit(self) -> int:
        """Tokens, in and out together, that each slot may hold."""


class Partition(NamedTuple):
    """The result of the check. `ok` when both sums are within what the engine has."""

    slots: int
    concurrency: int
    context_tokens: int
    kv_tokens_free: int
    offers: tuple[tuple[str, int, int, int], ...]  # site, offer, slots, context_limit, in order

    @property
    def ok(self) -> bool:
        """Tell whether the offers can all be filled at once."""
        return self.slots <= self.concurrency and self.context_tokens <= self.kv_tokens_free

    def explain(self) -> str:
        """Say in one line what is promised, what there is, and by which offers; "" when it fits."""
        faults = []
        if self.slots > self.concurrency:
            faults.append(f"{self.slots} slots on an engine that runs {self.concurrency} at once")
        if self.context_tokens > self.kv_tokens_free:
            faults.append(
                f"{self.context_tokens} tokens of context in a KV cache with "
                f"{self.kv_tokens_free} free"
            )
        if not faults:
            return ""
        named = ", ".join(
            f"{site}#{offer} ({slots} × {context_limit})"
            for site, offer, slots, context_limit in self.offers
        )
        return f"{' and '.join(faults)}: {named}"


def check_partition(offers: Iterable[Share], *, concurrency: int, kv_tokens_free: int) -> Partition:
    """Check that the offers of ONE engine partition it.

    `concurrency`: requests it runs at once and that nobody else has taken; `kv_tokens_free`: tokens
    of KV cache likewise. An offer with 0 slots promises nothing. An offer named twice counts twice:
    whoever sends both would replace one by the other, which is the caller's to notice.
    """
    shares = tuple((o.site, o.offer, o.slots, o.context_limit) for o in offers)
    return Partition(
        slots=sum(slots for _, _, slots, _ in shares),
        concurrency=concurrency,
        context_tokens=sum(slots * limit for _, _, slots, limit in shares),
        kv_tokens_free=kv_tokens_free,
        offers=shares,
    )
