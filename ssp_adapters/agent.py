"""An operator's agent at the exchange: its session, its events, its handles, its acts.

Site proxy and runner both speak through it; what they decide is elsewhere.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np

from schemas import limits, lists, records
from schemas.bundle import Bundle
from schemas.channel import Channel, ChannelError, NotSentError, OutcomeUnknownError
from schemas.commands import Offer
from schemas.feed import EventFeed
from schemas.link import ClientLink, new_context
from schemas.session.client import ClientSession
from schemas.session.messages import Established, Outcome, RegisterAdapters

SOFTWARE: Final = "curb ssp_adapters 1"
_FRAME: Final = limits.RECORDS_PER_FRAME_MAX
_CLOSING: Final = frozenset(
    records.EVENT_TYPES.index(name) for name in ("released", "declined", "settled")
)
_FILL: Final = records.EVENT_TYPES.index("fill")
_RELEASING: Final = records.EVENT_TYPES.index("releasing")
_EXPIRED: Final = records.EVENT_TYPES.index("offer_expired")


class FillEvent(msgspec.Struct, frozen=True):
    """The operator's copy of a fill: what it must serve, and for how much."""

    fill: int
    site: str
    offer: int
    ordinal: int
    tokens_in: int
    tokens_out: int
    price_nusd: int
    lease_until_ns: int


class Listener(Protocol):
    """What an agent tells its owner, within the loop."""

    def on_opened(self, established: Established, resumed: bool) -> None:
        """The session is open; not resumed: the offers that it streamed are gone."""

    def on_fill(self, event: FillEvent) -> None:
        """A fill of this operator's offers was made."""

    def on_releasing(self, fill: int) -> None:
        """A buyer gave a fill back: its token is void."""

    def on_closed(self, fill: int, how: str) -> None:
        """A fill ended at the exchange: `released`, `declined` or `settled`."""

    def on_offer_expired(self, site: str, offer: int) -> None:
        """An offer was not renewed in time."""

    def on_missed(self) -> None:
        """Events are no longer kept: what is open must be asked for anew."""


class OperatorAgent:
    """One enrolled key of an operator, on a running loop.

    `sites`: whose offers it streams (default: all of the bundle's). `events_after(market)` is the number
    of the last event that an earlier life took in this market.
    """

    def __init__(
        self,
        bundle: Bundle,
        listener: Listener,
        *,
        sites: Sequence[str] | None = None,
        events_after: Callable[[int], int] = lambda _market: 0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        cancel_after_us: int = limits.CANCEL_AFTER_US_DEFAULT,
    ) -> None:
        self.bundle = bundle
        self.sites = tuple(bundle.sites if sites is None else sites)
        self._listener = listener
        self._clock_ns = clock_ns
        self._context = new_context()
        self._handles: dict[tuple[str, str], int] = {}
        self._sets: dict[tuple[str, ...], int] = {(): 0}
        self._site_names: dict[int, str] = {}
        self._events_after = events_after
        self._feed: EventFeed | None = None
        session = ClientSession(
            streams=self.sites, software=SOFTWARE, cancel_after_us=cancel_after_us
        )
        self.channel = Channel(self._link(bundle.commands_address), session, clock_ns, self._opened)

    def _link(self, address: str) -> ClientLink:
        keys = self.bundle
        return ClientLink(self._context, address, keys.server_key, keys.public_key, keys.secret_key)

    # ------------------------------------------------------------------------- session
    async def open(self) -> Established:
        """Wait for the session, then subscribe to the events. Raises SessionOverError."""
        established = await self.channel.opened()
        if self._feed is None:
            address = self.bundle.events_address or established.events_address
            self._feed = EventFeed(
                self._link(address),
                self._clock_ns,
                self._on_events,
                on_missed=lambda _first, _last: self._listener.on_missed(),
                after=self._events_after(established.market),
            )
        return established

    @property
    def member(self) -> str:
        """The operator's name."""
        established = self.channel.established
        return self.bundle.member if established is None else established.member

    @property
    def events_last(self) -> int:
        """The number of the last event taken: to go on from in a later life."""
        return 0 if self._feed is None else self._feed.last

    async def close(self) -> None:
        """End the session: the offers of its sites are cancelled, their fills live on."""
        if self._feed is not None:
            self._feed.close()
        await self.channel.close()
        self._context.term()

    def _opened(self, established: Established, resumed: bool) -> None:
        for site in established.sites:
            self._handles["site", site.site] = site.handle
            self._site_names[site.handle] = site.site
        self._listener.on_opened(established, resumed)

    def _on_events(self, _first: int, events: np.ndarray) -> None:
        types = events["type"].tolist()
        fills = events["fill"].tolist()
        for place, (kind, fill) in enumerate(zip(types, fills, strict=True)):
            if kind == _FILL:
                event = self._fill_event(events[place])
                if event.site:  # the feed is the member's: another agent's sites are in it too
                    self._listener.on_fill(event)
            elif kind in _CLOSING:
                self._listener.on_closed(fill, records.EVENT_TYPES[kind])
            elif kind == _RELEASING:
                self._listener.on_releasing(fill)
            elif kind == _EXPIRED:
                site = self._site_names.get(int(events["site"][place]), "")
                if site:
                    self._listener.on_offer_expired(site, int(events["offer"][place]))

    def _fill_event(self, row: np.void) -> FillEvent:
        return FillEvent(
            fill=int(row["fill"]),
            site=self._site_names.get(int(row["site"]), ""),
            offer=int(row["offer"]),
            ordinal=int(row["ordinal"]),
            tokens_in=int(row["tokens_in"]),
            tokens_out=int(row["tokens_out"]),
            price_nusd=int(row["price"]),
            lease_until_ns=int(row["lease_until"]),
        )

    # ------------------------------------------------------------------------- names
    async def handle(self, kind: str, name: str) -> int:
        """Return the handle of a name.

        Raises:
            LookupError: the exchange does not know it.
        """
        known = self._handles.get((kind, name))
        if known is None:
            for entry in await self.channel.lookup(kind, (name,)):
                self._handles[kind, entry.name] = entry.handle
            known = self._handles.get((kind, name))
        if known is None:
            raise LookupError(f"the exchange knows no {kind} {name!r}")
        return known

    async def adapter_set(self, adapters: tuple[str, ...]) -> int:
        """Return the handle of a set of resident adapters; registers it the first time."""
        if adapters not in self._sets:
            answer = await self.channel.numbered(RegisterAdapters(adapters=adapters))
            if answer.code:
                raise LookupError(f"the exchange takes no such adapters: {answer.why}")
            self._sets[adapters] = answer.handle
        return self._sets[adapters]

    async def outcome(self, fill: int) -> Outcome:
        """Ask what became of a fill of this operator."""
        return await self.channel.query(fill=fill)

    # ------------------------------------------------------------------------- acts
    async def send_offers(self, offers: Sequence[Offer]) -> np.ndarray:
        """Send `offer` commands; returns STATUS records. Raises LookupError for unknown names."""
        batch = np.zeros(len(offers), records.OFFER_RECORD)
        for place, offer in enumerate(offers):
            batch[place] = (
                offer.ask_in, offer.ask_out, offer.ask_second, offer.fills_seen,
                await self.handle("site", offer.site), await self.handle("model", offer.model),
                await self.handle("deal", offer.deal) if offer.deal else 0,
                await self.adapter_set(offer.adapters),
                offer.ttft_us, offer.prefill_ns_per_token, offer.tokens_per_second,
                offer.context_limit, offer.cold_start_us, offer.adapter_load_us,
                capability_bits(offer.capabilities), offer.ttl_us, offer.offer, offer.slots,
                lists.HARDWARE.index(offer.hardware), lists.PRECISIONS.index(offer.precision),
                lists.CONTRACTS.index(offer.contract), 0,
            )  # fmt: skip
        return await self.send(records.OFFER, batch)

    async def send_refreshes(self, offers: Sequence[Offer]) -> np.ndarray:
        """Send `refresh` commands with the figures of these offers; returns STATUS records."""
        batch = np.zeros(len(offers), records.REFRESH_RECORD)
        for place, offer in enumerate(offers):
            batch[place] = (
                offer.fills_seen, await self.handle("site", offer.site), offer.offer, offer.slots,
                offer.ttft_us, offer.prefill_ns_per_token, offer.tokens_per_second, offer.ttl_us,
            )  # fmt: skip
        return await self.send(records.REFRESH, batch)

    async def send_renewals(self, renewals: Sequence[tuple[str, int]]) -> np.ndarray:
        """Send `renew` commands of (site, ttl_us); returns STATUS records."""
        batch = np.zeros(len(renewals), records.RENEW_RECORD)
        for place, (site, ttl_us) in enumerate(renewals):
            batch[place] = (await self.handle("site", site), ttl_us)
        return await self.send(records.RENEW, batch)

    async def send_cancels(self, keys: Sequence[tuple[str, int]]) -> np.ndarray:
        """Send `offer_cancel` commands of (site, number); returns STATUS records."""
        batch = np.zeros(len(keys), records.OFFER_CANCEL_RECORD)
        for place, (site, offer) in enumerate(keys):
            batch[place] = (await self.handle("site", site), offer, 0)
        return await self.send(records.OFFER_CANCEL, batch)

    async def start(self, fills: Sequence[int]) -> np.ndarray:
        """Say that the requests of fills were admitted; returns STATUS records."""
        batch = np.zeros(len(fills), records.START_RECORD)
        batch["fill"] = fills
        return await self.send(records.START, batch)

    async def complete(self, done: Iterable[tuple[int, int, int, int]]) -> np.ndarray:
        """Report what was metered, as (fill, tokens_in, tokens_out, ttft_us); returns STATUS records."""
        rows = [(*row[:3], min(row[3], limits.LATENCY_US_MAX), 0) for row in done]
        return await self.send(records.COMPLETE, np.array(rows, records.COMPLETE_RECORD))

    async def decline(self, fills: Sequence[int], reason: str) -> np.ndarray:
        """Say that fills are not served; returns STATUS records."""
        batch = np.zeros(len(fills), records.DECLINE_RECORD)
        batch["fill"] = fills
        batch["reason"] = lists.DECLINE_REASONS.index(reason)
        return await self.send(records.DECLINE, batch)

    async def send(self, kind: int, batch: np.ndarray) -> np.ndarray:
        """Send hot records in as few frames as they fit; returns STATUS records.

        Raises ChannelError for the first frame that was refused or whose answer was lost; the others
        took effect all the same.
        """
        futures = [
            await self.channel.post(kind, batch[first : first + _FRAME])
            for first in range(0, len(batch), _FRAME)
        ]
        answers = await asyncio.gather(*futures, return_exceptions=True)
        parts = []
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
            parts.append(answer.statuses)
        return np.concatenate(parts) if parts else np.zeros(0, records.STATUS_RECORD)

    async def insist(self, kind: int, batch: np.ndarray) -> np.ndarray:
        """Send records whose repeat is harmless until they are answered (start, complete, decline).

        A record that took effect before its answer was lost comes back as `state`, which for these
        says: done already, or past. What waited for a session that was not resumed never left: it
        is sent in the next one.
        """
        while True:
            try:
                return await self.send(kind, batch)
            except (OutcomeUnknownError, NotSentError):
                await self.channel.opened()


def capability_bits(capabilities: Iterable[str]) -> int:
    """Return capabilities as the bits of an offer record."""
    bits = 0
    for name in capabilities:
        bits |= 1 << lists.CAPABILITIES.index(name)
    return bits


__all__ = ["ChannelError", "FillEvent", "Listener", "OperatorAgent", "capability_bits"]
