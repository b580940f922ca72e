"""The events of the market: one Struct each, in the field order of MARKET_FILE.md.

Encoded with `msgspec.json` they are the lines of an events file, byte for byte: the tag first, then
the fields as they stand here, no spaces, nothing escaped beyond what JSON requires.
"""

from typing import Final

from msgspec import Struct


class Event(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event has: the number of its command, and the command's time."""

    seq: int
    at: int


class Fill(Event, frozen=True, kw_only=True, tag="fill"):
    """One slot changed hands; says what was bought as well as the price."""

    fill: int
    buyer: str
    agent: int
    bid: int
    unit: int
    operator: str
    site: str
    offer: int
    ordinal: int
    model: str
    hardware: str
    precision: str
    contract: str
    tier: str
    country: str | None
    cold: bool
    tokens_in: int
    tokens_out: int
    price: int
    cost: int
    score: int
    rival_score: int | None
    contested: bool
    latency_us: int
    lease_until: int
    resting: bool


class Resting(Event, frozen=True, kw_only=True, tag="resting"):
    """Units of a bid rest until they fill or end."""

    buyer: str
    agent: int
    bid: int
    quantity: int


class Unfilled(Event, frozen=True, kw_only=True, tag="unfilled"):
    """Units of a bid ended without a fill."""

    buyer: str
    agent: int
    bid: int
    quantity: int
    reason: str


class Rejected(Event, frozen=True, kw_only=True, tag="rejected"):
    """A well-formed command was not acceptable in the current state and changed nothing."""

    command: str
    reason: str


class OfferExpired(Event, frozen=True, kw_only=True, tag="offer_expired"):
    """An offer was not renewed in time."""

    site: str
    offer: int


class Releasing(Event, frozen=True, kw_only=True, tag="releasing"):
    """A buyer gave a lease back; the site voids the token."""

    fill: int
    lease_until: int


class Released(Event, frozen=True, kw_only=True, tag="released"):
    """A lease ended unused; `paid` is the rent."""

    fill: int
    paid: int
    refund: int


class Declined(Event, frozen=True, kw_only=True, tag="declined"):
    """The operator did not serve a fill; the whole hold returned."""

    fill: int
    reason: str


class Disputed(Event, frozen=True, kw_only=True, tag="disputed"):
    """Both sides completed and their figures differ by more than the tolerance."""

    fill: int
    buyer_figure: int
    operator_figure: int


class Settled(Event, frozen=True, kw_only=True, tag="settled"):
    """A fill was paid: paid = fee + earned + withheld, refund = price − paid."""

    fill: int
    buyer: str
    operator: str
    paid: int
    fee: int
    earned: int
    withheld: int
    refund: int
    by: str


AnyEvent = (
    Fill | Resting | Unfilled | Rejected | OfferExpired | Releasing | Released | Declined
    | Disputed | Settled
)  # fmt: skip
EVENTS: Final[tuple[type[Event], ...]] = AnyEvent.__args__
