"""What the market knows (MARKET.md §2 and §3): plain records in dictionaries.

State ── operators, buyers, models, cards, metros, sites, rtts, deals, adapters, halts
      ├─ campaigns (buyer, campaign)
      ├─ names (site, offer) ── for ever: fills made, fills seen, ordinals in flight
      ├─ offers (site, offer) ── those that stand
      ├─ resting (buyer, agent, bid) ── in order of arrival
      ├─ fills ── those that have not ended; ended: the members of those that have
      └─ agendas ── what is due when
"""

from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from sortedcontainers import SortedList

from schemas import commands as c
from schemas import events as e
from schemas import limits
from schemas.lists import AUTHORITIES

OfferKey = tuple[str, int]  # site, offer
BidKey = tuple[str, int, int]  # buyer, agent, bid

LEASED: Final = "leased"
STARTED: Final = "started"
DISPUTED: Final = "disputed"


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of MARKET.md §8, as one value: a fill keeps the one of its moment."""

    take_rate_ppm: int = limits.TAKE_RATE_PPM_START
    rent_ppm_per_s: int = limits.RENT_PPM_PER_S_START
    tolerance_ppm: int = limits.TOLERANCE_PPM_START
    settle_us: int = limits.SETTLE_US_START
    deliver_us: int = limits.DELIVER_US_START
    dispute_us: int = limits.DISPUTE_US_START


@dataclass(frozen=True, slots=True)
class Card:
    """A reference price: pico-dollars per token in and out, n$ per second of lease."""

    card_in: int
    card_out: int
    card_second: int


@dataclass(slots=True)
class OperatorState:
    """A seller; `number` counts first registrations from 1."""

    command: c.Operator
    number: int
    balance: int = 0
    last_transfer: int = 0


@dataclass(slots=True)
class BuyerState:
    """A buyer. `held` is what its open fills and its bids at rest hold."""

    command: c.Buyer
    number: int
    available: int = 0
    held: int = 0
    last_transfer: int = 0
    last_bids: dict[int, int] = field(default_factory=dict)  # agent -> highest accepted bid


@dataclass(slots=True)
class SiteState:
    """A site, and what the verifier alone sets."""

    command: c.Site
    trust: int = 0
    latency_margin_us: int = 0


@dataclass(slots=True)
class NameState:
    """The fills of an offer's name, for ever (MARKET.md §3).

    `released[k]` tells of ordinal k + 1; `in_flight` are the ordinals above `fills_seen` that were
    not released, ascending.
    """

    released: list[bool] = field(default_factory=list)
    fills_seen: int = 0
    in_flight: list[int] = field(default_factory=list)

    @property
    def fills_made(self) -> int:
        """How many fills were ever made under the name."""
        return len(self.released)

    def fill(self) -> int:
        """Count one more fill and return its ordinal."""
        self.released.append(False)
        self.in_flight.append(self.fills_made)
        return self.fills_made

    def release(self, ordinal: int) -> None:
        """Give back the slot of a fill, unless the operator's own report already did."""
        self.released[ordinal - 1] = True
        if ordinal > self.fills_seen:
            self.in_flight.remove(ordinal)

    def see(self, fills_seen: int) -> None:
        """Take an operator's report; the largest ever given counts."""
        self.fills_seen = max(self.fills_seen, fills_seen)
        self.in_flight = [ordinal for ordinal in self.in_flight if ordinal > self.fills_seen]


@dataclass(slots=True)
class OfferState:
    """An offer that stands: its terms as last refreshed."""

    terms: c.Offer
    priority: int
    expires_at_ns: int

    @property
    def key(self) -> OfferKey:
        """The offer's name."""
        return (self.terms.site, self.terms.offer)


@dataclass(slots=True)
class BidState:
    """A bid, arriving or at rest, with what it takes from its campaign filled in."""

    command: c.Bid
    campaign: c.Campaign
    budget_us: int
    max_price: int
    units_left: int
    due_ns: int
    arrival: int
    next_unit: int = 0

    @property
    def key(self) -> BidKey:
        """The bid's name."""
        return (self.command.buyer, self.command.agent, self.command.bid)


@dataclass(slots=True)
class FillState:
    """A fill that has not ended, with the rules and the card of its moment."""

    fill: int
    bid: c.Bid
    unit: int
    operator: str
    offer: OfferKey
    ordinal: int
    price: int
    filled_at: int
    lease_until: int
    card: Card
    rules: Rules
    state: str = LEASED
    started_at: int | None = None
    first_complete_at: int | None = None
    disputed_at: int | None = None
    buyer_figure: int | None = None
    operator_figure: int | None = None


Key = TypeVar("Key")


class Agenda(Generic[Key]):
    """What is due when: by due time, then by a tie number, which is unique."""

    def __init__(self) -> None:
        self._entries: SortedList = SortedList(key=lambda entry: entry[:2])
        self._entry_of_key: dict[Key, tuple[int, int, Key]] = {}

    def put(self, key: Key, due_ns: int, tie: int) -> None:
        """Enter `key`, or move it when it is in."""
        self.drop(key)
        entry = (due_ns, tie, key)
        self._entry_of_key[key] = entry
        self._entries.add(entry)

    def drop(self, key: Key) -> None:
        """Forget `key`, if it is in."""
        entry = self._entry_of_key.pop(key, None)
        if entry is not None:
            self._entries.remove(entry)

    def __contains__(self, key: Key) -> bool:
        return key in self._entry_of_key

    def due(self, now_ns: int) -> list[Key]:
        """Return what is due at or before now, in order, and forget it."""
        keys: list[Key] = []
        while self._entries and self._entries[0][0] <= now_ns:
            keys.append(self._entries[0][2])
            self.drop(keys[-1])
        return keys


class State:
    """The whole market, and the events of the command at hand."""

    def __init__(self) -> None:
        self.seq = 0
        self.at = 0
        self.events: list[e.AnyEvent] = []
        self.rules = Rules()
        self.operators: dict[str, OperatorState] = {}
        self.buyers: dict[str, BuyerState] = {}
        self.models: dict[str, c.Model] = {}
        self.price_cards: dict[tuple[str, int], c.PriceCard] = {}  # by model and band in ms
        self.adapters: dict[str, c.Adapter] = {}
        self.metros: dict[str, c.Metro] = {}
        self.sites: dict[str, SiteState] = {}
        self.rtts: dict[tuple[str, str], c.Rtt] = {}
        self.deals: dict[str, c.Deal] = {}
        self.halts: set[tuple[str, str, str]] = set()  # scope, name, by; never iterated unsorted
        self.campaigns: dict[tuple[str, str], c.Campaign] = {}
        self.names: dict[OfferKey, NameState] = {}
        self.offers: dict[OfferKey, OfferState] = {}
        self.resting: dict[BidKey, BidState] = {}
        self.fills: dict[int, FillState] = {}
        self.ended: dict[int, tuple[str, str]] = {}  # fill -> its buyer and operator
        self.fills_made = 0
        self.ended_sum = 0
        self.fees = 0
        self.withheld = 0
        self.deposits = 0  # less withdrawals
        self.offer_expiries: Agenda[OfferKey] = Agenda()
        self.bid_expiries: Agenda[BidKey] = Agenda()
        self.leases: Agenda[int] = Agenda()
        self.settlements: Agenda[int] = Agenda()
        self.disputes: Agenda[int] = Agenda()

    # ------------------------------------------------------------------------- what is asked often
    def operator_of(self, offer: OfferState) -> str:
        """Return the name of the offer's operator."""
        return self.sites[offer.terms.site].command.operator

    def seller_group(self, offer: OfferState) -> str:
        """Return the group of the offer's operator."""
        return self.operators[self.operator_of(offer)].command.owner_group

    def buyer_group(self, bid: BidState) -> str:
        """Return the group of the bid's buyer."""
        return self.buyers[bid.command.buyer].command.owner_group

    def members_of_fill(self, fill: int) -> tuple[str, str] | None:
        """Return buyer and operator of a fill, open or ended; None when it was never made."""
        if fill in self.fills:
            return (self.fills[fill].bid.buyer, self.fills[fill].operator)
        return self.ended.get(fill)

    def available(self, offer: OfferState) -> int:
        """Return how many slots the offer can sell now (MARKET.md §3, in-flight slots)."""
        return max(0, offer.terms.slots - len(self.names[offer.key].in_flight))

    def halted(self, scope: str, name: str = "") -> bool:
        """Tell whether any authority's halt stands. What is halted by anyone is halted."""
        return bool(self.halts) and any((scope, name, by) in self.halts for by in AUTHORITIES)

    def live(self, offer: OfferState) -> bool:
        """Tell whether nothing of a standing offer is halted (MARKET.md §5)."""
        return not (
            self.halted("exchange")
            or self.halted("operator", self.operator_of(offer))
            or self.halted("site", offer.terms.site)
            or self.halted("model", offer.terms.model)
        )

    # ------------------------------------------------------------------------- small changes
    def emit(self, kind: type[e.Event], **fields: object) -> None:
        """Add an event with the command's number and time."""
        self.events.append(kind(seq=self.seq, at=self.at, **fields))  # type: ignore[arg-type]

    def remove_offer(self, key: OfferKey) -> None:
        """Take an offer off the book. That never touches its fills."""
        del self.offers[key]
        self.offer_expiries.drop(key)

    def end_resting(self, bid: BidState, reason: str) -> None:
        """End the units of a bid at rest: what they hold returns."""
        buyer = self.buyers[bid.command.buyer]
        buyer.held -= bid.units_left * bid.max_price
        buyer.available += bid.units_left * bid.max_price
        self.remove_resting(bid)
        self.emit_unfilled(bid, reason)

    def remove_resting(self, bid: BidState) -> None:
        """Take a bid off the book."""
        del self.resting[bid.key]
        self.bid_expiries.drop(bid.key)

    def emit_unfilled(self, bid: BidState, reason: str) -> None:
        """Say that what is left of a bid ended."""
        buyer, agent, number = bid.key
        self.emit(
            e.Unfilled,
            buyer=buyer,
            agent=agent,
            bid=number,
            quantity=bid.units_left,
            reason=reason,
        )
