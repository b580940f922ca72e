"""The state digest: one SHA-256 over the whole state of a market, the same from every engine.

It is taken over **rows**: plain tuples of str, int, bool, float, None and tuples. Each row is packed
with msgpack and the bytes are joined. Whatever a later outcome can depend on is in a row, and
nothing of how an engine keeps it. The rows, kinds in this order:

    kind          the rest of the row                                     one row per, in order of
    ------------  ------------------------------------------------------  --------------------------
    "market"      seq, at, fills_made, ended_sum                          (one)
    "rules"       take_rate_ppm, rent_ppm_per_s, tolerance_ppm,           (one)
                  settle_us, deliver_us, dispute_us
    "money"       fees, withheld, deposits_less_withdrawals               (one)
    "operator"    operator, group, control, balance, last_transfer        operator
    "buyer"       buyer, group, available, last_transfer,                 buyer
                  ((agent, last_bid), …) by agent, agents that bid
    "model"       *fields                                                 model
    "price_card"  *fields                                                 (model, band)
    "adapter"     *fields                                                 adapter
    "metro"       *fields                                                 metro
    "site"        *fields, trust, latency_margin_us                       site
    "rtt"         *fields of the pairs that are reachable                 (site, metro)
    "deal"        *fields                                                 deal
    "halt"        scope, name, by                                         (scope, name, by)
    "campaign"    *fields, of those that stand                            (buyer, campaign)
    "offer"       *fields but `fills_seen` and `ttl_us`, with slots,      (site, offer)
                  ttft_us, prefill_ns_per_token and tokens_per_second
                  as last refreshed; priority, expires_at_ns;
                  of those that stand
    "name"        site, offer, fills_made, fills_seen_max,                (site, offer), all that
                  (ordinal, …) ascending: the fills above                 were ever offered
                  fills_seen_max that were not released
    "rest"        buyer, agent, bid, campaign, origin, origin_asn,        arrival
                  tokens_in, tokens_out, adapter, lease_us, budget_us,
                  max_price, units_left, next_unit, due_ns
    "open"        fill, buyer, agent, bid, unit, operator, site, offer,   fill, of those not yet
                  ordinal, price, state, lease_until, started_at,         settled, declined or
                  first_complete_at, disputed_at, buyer_figure,           released
                  operator_figure, filled_at, tokens_in, tokens_out,
                  card_in, card_out, card_second, take_rate_ppm,
                  rent_ppm_per_s, tolerance_ppm, settle_us, deliver_us,
                  dispute_us

- `*fields`: the fields of the last accepted command of that name in the order in which its Struct
  declares them, without `at` (`struct_fields`). What the command left open is written as it counts:
  a group is the member's own name.
- Every list is a set to the market, so it is written **sorted** (`control`, `buyers`, `adapters`, …;
  a campaign's `models` as (model, markdown) by model).
- Names sort by code point, as Python's strings do; numbers by value; `band` is the number in the
  command (0 = best effort comes first).
- "rtt" has the four fields site, metro, p99_us, estimate.
- "rest": `budget_us` and `max_price` are those that count, the campaign's where the bid gave none;
  `due_ns` is when it expires.
- "open": `state` is "leased", "started" or "disputed"; the times are ns or None where it has not
  happened; a figure is None until that side completed; cards and rules are those of its moment.
- `ended_sum`: Σ `ended_term(…)` mod 2^64 over all fills that ended. Ended fills are too many to list;
  of them only the members count (a later command naming one is `state` to them, `unknown` to others).
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.commands import Buyer, CampaignModel, Command, Operator

Value = str | int | bool | float | tuple["Value", ...] | None
Row = tuple[Value, ...]

KINDS: Final = (
    "market", "rules", "money", "operator", "buyer", "model", "price_card", "adapter", "metro",
    "site", "rtt", "deal", "halt", "campaign", "offer", "name", "rest", "open",
)  # fmt: skip
OFFER_FIELDS_LEFT_OUT: Final = ("fills_seen", "ttl_us")  # "name" and expires_at_ns say them

_WORD: Final = 2**64 - 1


def digest(rows: Iterable[Row]) -> str:
    """Return the SHA-256 of the rows as 64 hexadecimal digits. The caller brings them in order."""
    state = hashlib.sha256()
    encode = msgspec.msgpack.Encoder().encode
    for row in rows:
        state.update(encode(row))
    return state.hexdigest()


def struct_fields(command: Command, *, without: Iterable[str] = ()) -> Row:
    """Return a command's fields as a row has them: no `at`, lists sorted, the group that counts."""
    left_out = {"at", *without}
    return tuple(
        _value(command, field) for field in command.__struct_fields__ if field not in left_out
    )


def _value(command: Command, field: str) -> Value:
    if field == "group" and isinstance(command, Operator | Buyer):
        return command.owner_group
    value = getattr(command, field)
    if not isinstance(value, tuple):
        return value  # type: ignore[no-any-return]
    return tuple(
        sorted((e.model, e.markdown) if isinstance(e, CampaignModel) else e for e in value)
    )


def ended_term(fill: int, buyer_number: int, operator_number: int, paid: int) -> int:
    """Return what a fill that ended adds to `ended_sum`, a 64-bit word.

    The numbers of buyer and operator are 1, 2, … in order of first registration, per role; `paid`
    is what the buyer paid in the end: 0 when declined, the rent when released.
    """
    word = _finalise(fill)
    for part in (buyer_number, operator_number, paid):
        word = _finalise(word ^ part)
    return word


def _finalise(word: int) -> int:
    """Mix 64 bits (splitmix64's finaliser: Steele, Lea, Flood 2014)."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _WORD
    return word ^ (word >> 31)
