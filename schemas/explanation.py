"""What Explain answers: the price of each constraint, and the counter-offer (MARKET.md §7).

A constraint is **left out** by giving it the loosest value that a campaign may have: a budget of
10^9 µs, trust and speed 0, an empty list, no peering, cold starts accepted. So every answer is about
a campaign that the buyer could have registered, and can.

**The order of "smallest".** A change of one constraint has a size:

    ceiling, latency, speed     |new − old| / old, in millionths           to double it is one million
    a preference                one million for each entry, level or switch that changes
    a rule of law               a hundred million for each entry
    leaving a whole list out    a thousand entries: what no added country helps, for unknown is unknown

Money and time can be weighed by whoever bids, so they come first until they double; a hundred
preferences weigh as much as one country of a residency rule, which nobody at a bidding agent may
give up. Of two changes of one size the one whose rule stands later in §5 is smaller: the offer came
further. Of two changes of one constraint and one size it is the one that admits the better offer (§5:
score, latency, priority). The integers are exact, so that the order is total.
"""

from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from schemas import limits
from schemas.commands import Bid, Campaign
from schemas.reasons import ELIGIBILITY_RULES

NUMBER_WEIGHT: Final = 1
PREFERENCE_WEIGHT: Final = 1_000_000
LAW_WEIGHT: Final = 100_000_000
ENTRIES_OF_A_LIST: Final = 1_000  # what leaving it out counts as; no list has so many
assert ENTRIES_OF_A_LIST > limits.LIST_MAX
DIGITS_TOLD: Final = 2

CEILING: Final = "ceiling"
LATENCY: Final = "latency"
TRUST: Final = "trust"
SPEED: Final = "speed"
OPERATOR: Final = "operator"


class Constraint(NamedTuple):
    """One thing that a campaign or a bid may ask for: its rule of §5, and how it is changed.

    `fields` are the campaign's. A change of one that `requires` takes entries away; else adds them.
    """

    name: str
    rule: str
    weight: int
    fields: tuple[str, ...]
    requires: bool = False


_TABLE: Final = (
    Constraint("cold", "cold", PREFERENCE_WEIGHT, ("accept_cold",)),
    Constraint("residency", "residency", LAW_WEIGHT, ("residency",)),
    Constraint("data_residency", "data_residency", LAW_WEIGHT, ("data_residency",)),
    Constraint("sovereignty", "sovereignty", LAW_WEIGHT, ("sovereignty",)),
    Constraint("certification", "certification", LAW_WEIGHT, ("certifications",), requires=True),
    Constraint("tier", "tier", PREFERENCE_WEIGHT, ("tiers",)),
    Constraint(OPERATOR, "operator", PREFERENCE_WEIGHT, ("allow_operators", "deny_operators")),
    Constraint(TRUST, "trust", PREFERENCE_WEIGHT, ("min_trust",)),
    Constraint("capability", "capability", PREFERENCE_WEIGHT, ("capabilities",), requires=True),
    Constraint("hardware", "hardware", PREFERENCE_WEIGHT, ("hardware",)),
    Constraint("precision", "precision", PREFERENCE_WEIGHT, ("precisions",)),
    Constraint("contract", "contract", PREFERENCE_WEIGHT, ("contracts",)),
    Constraint(SPEED, "speed", NUMBER_WEIGHT, ("min_tokens_per_second",)),
    Constraint("peering", "peering", PREFERENCE_WEIGHT, ("peering",)),
    Constraint(LATENCY, "latency", NUMBER_WEIGHT, ("latency_budget_us",)),
    Constraint(CEILING, "price", NUMBER_WEIGHT, ("max_unit_price",)),
)
CONSTRAINTS: Final = {each.name: each for each in _TABLE}
PLACES: Final = {name: ELIGIBILITY_RULES.index(each.rule) for name, each in CONSTRAINTS.items()}
# A ceiling is no constraint of a fill: without one there is no price.
PRICED: Final = tuple(name for name in CONSTRAINTS if name != CEILING)
_LOOSEST: Final = {
    "accept_cold": True,
    "peering": False,
    "min_trust": 0,
    "min_tokens_per_second": 0,
    "latency_budget_us": limits.LATENCY_US_MAX,
}  # other fields are lists, and loosest when empty


# ----------------------------------------------------------------------------- answers
# Bounded, because they are also read from a peer.
_PerUnit = Annotated[tuple[int, ...], Meta(max_length=limits.QUANTITY_MAX)]
_PerConstraint = Meta(max_length=len(_TABLE))


class ConstraintPrice(Struct, frozen=True, kw_only=True):
    """What one constraint costs each fill of the bid: its price less the price without it.

    0: it does not bind. Below 0: without it a dearer offer had won, which is worth more to the buyer.
    """

    constraint: str
    nusd: _PerUnit
    pusd_per_token: _PerUnit  # the same in µ$ per million declared tokens


class Change(Struct, frozen=True, kw_only=True):
    """A change of one constraint with which one unit more had filled, and that unit's price then.

    `value` is the new number of ceiling (n$, `max_price`), latency (µs), trust or speed; `entries` what
    is added to the list, or no longer required, or the operator that is admitted. With neither, the
    constraint is left out.
    """

    constraint: str
    price: int
    pusd_per_token: int
    size: int
    value: int | None = None
    entries: Annotated[tuple[str, ...], Meta(max_length=limits.LIST_MAX)] = ()


class Explanation(Struct, frozen=True, kw_only=True):
    """Why a bid got what it got on arrival, on the book as it was before it.

    `prices`, n$, are of the units that filled, in order; `constraints` those that were set, and
    empty when nothing filled; `changes` are there when a unit did not fill, the smallest first, which is
    the counter-offer: all of them when exact, the first when rounded for the buyer. `reason` is that
    of §7 for the units that came to rest or ended, "" when all filled.
    """

    buyer: str
    agent: int
    bid: int
    campaign: str
    quantity: int
    tokens: int
    prices: _PerUnit
    constraints: Annotated[tuple[ConstraintPrice, ...], _PerConstraint] = ()
    changes: Annotated[tuple[Change, ...], _PerConstraint] = ()
    reason: str = ""
    rounded: bool = False

    @property
    def counter_offer(self) -> Change | None:
        """The smallest change that had filled one unit more; None when all filled or none helps."""
        return self.changes[0] if self.changes else None


# ----------------------------------------------------------------------------- sizes and rounding
def size_of_number(old: int, new: int) -> int:
    """Return the size of a number's change in millionths of what it was, rounded up."""
    return -(-abs(new - old) * limits.PPM // max(old, 1))


def smallest_first(change: Change) -> tuple[int, int]:
    """Return what changes of one bid are ordered by."""
    return change.size, -PLACES[change.constraint]


def round_up(number: int) -> int:
    """Return the least number of two significant digits that is not smaller."""
    if number < 0:
        return -round_down(-number)
    step = _step(number)
    return -(-number // step) * step


def round_down(number: int) -> int:
    """Return the greatest number of two significant digits that is not greater; not of one below 0."""
    step = _step(number)
    return number // step * step


def _step(number: int) -> int:
    return int(10 ** max(0, len(str(number)) - DIGITS_TOLD))


def pusd_per_token(nusd: int, tokens: int) -> int:
    """Return n$ for declared tokens as p$ per token (= µ$ per million tokens), rounded up."""
    return -(-1000 * nusd // tokens)


def price_of(
    constraint: str,
    prices: tuple[int, ...],
    without: tuple[int, ...],
    tokens: int,
    *,
    rounded: bool,
) -> ConstraintPrice:
    """Return what a constraint costs the fills of a bid; `without` has the prices of more units."""
    # Leaving a constraint out never lets a unit go empty, so `without` is at least as long.
    exact = [price - other for price, other in zip(prices, without[: len(prices)], strict=True)]
    shown = round_up if rounded else int
    return ConstraintPrice(
        constraint=constraint,
        nusd=tuple(shown(each) for each in exact),
        pusd_per_token=tuple(shown(pusd_per_token(each, tokens)) for each in exact),
    )


# ----------------------------------------------------------------------------- campaigns changed
def is_set(constraint: str, campaign: Campaign, bid: Bid) -> bool:
    """Tell whether a campaign and a bid ask for anything by a constraint."""
    if constraint == LATENCY:
        return budget_of(campaign, bid) < limits.LATENCY_US_MAX
    return any(
        getattr(campaign, field) != _LOOSEST.get(field, ())
        for field in CONSTRAINTS[constraint].fields
    )


def budget_of(campaign: Campaign, bid: Bid) -> int:
    """Return the latency budget of a bid, µs."""
    own = bid.latency_budget_us
    return campaign.latency_budget_us if own is None else own


def ceiling_of(campaign: Campaign, bid: Bid) -> int:
    """Return the most that a unit of a bid may cost, n$ (MARKET.md §4)."""
    if bid.max_price is not None:
        return bid.max_price
    return campaign.max_unit_price * (bid.tokens_in + bid.tokens_out) // 1000


def left_out(constraint: str, campaign: Campaign, bid: Bid) -> tuple[Campaign, Bid]:
    """Return the campaign and the bid without one constraint."""
    if constraint == LATENCY:
        return campaign, msgspec.structs.replace(bid, latency_budget_us=limits.LATENCY_US_MAX)
    fields = {field: _LOOSEST.get(field, ()) for field in CONSTRAINTS[constraint].fields}
    return msgspec.structs.replace(campaign, **fields), bid


def changed(change: Change, campaign: Campaign, bid: Bid) -> tuple[Campaign, Bid]:
    """Return the campaign and the bid with a change made: what the buyer would have sent."""
    constraint = CONSTRAINTS[change.constraint]
    if change.constraint == CEILING:
        return campaign, msgspec.structs.replace(bid, max_price=change.value)
    if change.constraint == LATENCY:
        return campaign, msgspec.structs.replace(bid, latency_budget_us=change.value)
    field = constraint.fields[0]
    if change.value is not None:
        return msgspec.structs.replace(campaign, **{field: change.value}), bid
    if not change.entries:
        return left_out(change.constraint, campaign, bid)
    named = change.entries
    if change.constraint == OPERATOR:
        allowed, denied = campaign.allow_operators, campaign.deny_operators
        if allowed:
            allowed += tuple(name for name in named if name not in allowed)
        denied = tuple(name for name in denied if name not in named)
        return msgspec.structs.replace(
            campaign, allow_operators=allowed, deny_operators=denied
        ), bid
    listed: tuple[str, ...] = getattr(campaign, field)
    if constraint.requires:
        listed = tuple(entry for entry in listed if entry not in named)
    else:
        listed += named
    return msgspec.structs.replace(campaign, **{field: listed}), bid


# ----------------------------------------------------------------------------- for people
def lines(explanation: Explanation) -> list[str]:
    """Return an explanation as text."""
    filled, quantity = len(explanation.prices), explanation.quantity
    name = f"{explanation.buyer}/{explanation.agent}/{explanation.bid}"
    text = f"bid {name}, campaign {explanation.campaign}: {filled} of {quantity} filled"
    if filled:
        text += f" at {_numbers(explanation.prices)} n$"
    if filled < quantity:
        text += f" ({explanation.reason or 'the rest came to rest'})"
    made = [text]
    if explanation.constraints:
        made.append(f"  {'constraint':<16}{'costs it, n$':>16}  $ per million tokens")
    for each in explanation.constraints:
        usd = "does not bind"
        if any(each.nusd):
            usd = ", ".join(f"{pusd / 1e6:,.6f}" for pusd in each.pusd_per_token)
        made.append(f"  {each.constraint:<16}{_numbers(each.nusd):>16}  {usd}")
    if filled < quantity and not explanation.changes:
        made.append("  no change of one constraint had filled more")
    for place, change in enumerate(explanation.changes):
        made.append(
            f"  {'counter-offer' if place == 0 else 'or'}: {describe(change)}: the next unit fills at "
            f"{change.price:,} n$ ({change.pusd_per_token / 1e6:,.6f} $ per million tokens)"
        )
    return made


def describe(change: Change) -> str:
    """Return what is changed, as text."""
    if change.value is not None:
        what = {
            CEILING: "a ceiling of {:,} n$",
            LATENCY: "a latency budget of {:,} µs",
            TRUST: "a minimal trust of {:,}",
            SPEED: "a minimal speed of {:,} tokens per second",
        }
        return what[change.constraint].format(change.value)
    if not change.entries:
        return f"no {change.constraint} rule" if change.constraint != "cold" else "cold starts too"
    entries = ", ".join(change.entries)
    if CONSTRAINTS[change.constraint].requires:
        return f"{change.constraint} without {entries}"
    return f"{change.constraint} also {entries}"


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(f"{number:,}" for number in numbers)
