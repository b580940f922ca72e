"""Explain a bid on the market it is about to meet (MARKET.md §7; what is answered: schemas/explanation.py).

    events = expire_ahead(market, at_ns)     # what the bid's command would begin with
    answer = Explainer(market).explain(record, buyer, agent)
    matrix = market.apply_frame(BID, record, buyer, agent, at_ns)

Nothing of the state changes by it: expiries that are due happen before the bid in any case, row 0 of the
table of bids is nobody's, and what the market's own search finds out on the way it may forget. One pass
over the book finds what fails one rule at most (kernels/explain.py); each question is then a few steps
over what is left.
"""

from typing import Any, Final

import numpy as np

from matching_core import columns as k
from matching_core import warm
from matching_core.event_rows import COLUMNS, country_name
from matching_core.jit import Array
from matching_core.kernels import explain as kernels
from matching_core.kernels import explain_filled as filled_bids
from matching_core.kernels import explain_run as auction
from matching_core.kernels.entry import CLOCK
from matching_core.market import Market
from matching_core.twin import names_of
from schemas import explanation as x
from schemas import limits, lists, records
from schemas.commands import Bid, Campaign
from schemas.reasons import ELIGIBILITY_RULES

RULE: Final = {name: ELIGIBILITY_RULES.index(each.rule) + 1 for name, each in x.CONSTRAINTS.items()}
_INDEX_COLUMN: Final = COLUMNS.index("index")
_CLOSED: Final = {
    "tier": lists.TIERS,
    "hardware": lists.HARDWARE,
    "precision": lists.PRECISIONS,
    "contract": lists.CONTRACTS,
}
_REQUIRED: Final = {"certification": lists.CERTIFICATIONS, "capability": lists.CAPABILITIES}
_ROWS_AT_START: Final = 1_024
assert filled_bids.ROWS <= _ROWS_AT_START
_STATE: Final = "int64[::1]"
_TABLE: Final = "int64[:, ::1]"
# Every kernel with the types that Explainer calls it with (matching_core/warm.py has the market's own).
KERNELS: Final[tuple[tuple[Any, str], ...]] = (
    (kernels.scan, f"int64({_STATE}, {_TABLE}, {_STATE}, {_TABLE})"),
    (filled_bids.scan_filled, f"int64({_STATE}, {_TABLE}, int64, int64, {_TABLE})"),
    (auction.run, f"int64({_STATE}, {_TABLE}, int64, int64, int64, int64, {_STATE}, {_STATE})"),
    (auction.nearest, f"int64({_STATE}, {_TABLE}, int64, {_TABLE})"),
    (kernels.refusal_of, f"int64({_STATE}, int64, int64)"),
)


def warm_up() -> None:
    """Compile the kernels of Explain or load them: the exchange, which never explains, does not."""
    warm.warm_up(kernels=KERNELS)


def expire_ahead(market: Market, at_ns: int) -> Array:
    """Let what is due at `at_ns` happen now, as the first part of the next command.

    The next call must apply a command of that time; its events follow these, so the number of these is to
    be added to the `index` of the events of its first command (`after`).

    Returns:
        A copy of the events, numbered with the next command's `seq`.
    """
    matrix = market._run(CLOCK, 1, 0, 0, 0, at_ns).copy()  # noqa: SLF001  # same package
    market.columns.s[k.SEQ] -= 1  # no command was: the next one has this number
    return matrix


def after(ahead: Array, matrix: Array) -> Array:
    """Return the events of one command whose first part came by `expire_ahead`, as one matrix."""
    matrix = matrix.copy()
    matrix[:, _INDEX_COLUMN] += len(ahead)
    return np.concatenate([ahead, matrix])


class Explainer:
    """Explains bids of one market; keeps the memory for it from call to call."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._seen = np.zeros((1, kernels.SEEN_WORDS), np.int64)
        self._stamp = 0
        self._found = np.zeros(0, np.int64)
        self._candidates = np.zeros((0, kernels.CANDIDATE_WORDS), np.int64)
        self._near = np.zeros((auction.RULES, 2), np.int64)

    def explain(
        self, record: Any, buyer: int, agent: int, *, rounded: bool = False
    ) -> x.Explanation | None:
        """Explain a bid that the market is about to get; None when it will be rejected.

        Call `expire_ahead` before, so that the book is the one that the bid will meet.

        Args:
            record: a BID record (a structured scalar), its values within their limits.
            buyer: the sender's handle.
            agent: the number of the sender's agent.
            rounded: as the buyer is told it: two significant digits, one counter-offer.
        """
        market = self._market
        _put(market, record, buyer, agent)
        if kernels.refusal_of(market.columns.s, int(record["bid"]), int(record["rest_us"])):
            return None
        bid = market.from_record(records.BID, record, buyer, agent, 0, market.at_ns)
        assert isinstance(bid, Bid)
        campaign = market.detail("campaign", int(record["campaign"]))
        assert isinstance(campaign, Campaign)
        return _Answer(self, market, campaign, bid, buyer, rounded=rounded).explanation()

    def scan(self) -> tuple[Array, int]:
        """Return the candidates of the bid in row 0, and how many rows of them count."""
        s = self._market.columns.s
        self._make_room()
        return self._candidates, kernels.scan(s, self._seen, self._found, self._candidates)

    def scan_filled(self, rules: int) -> tuple[Array, int]:
        """Return those that matter if it fills, one unit, with one of some rules (bits) left out.

        None of them count, if it does not.
        """
        self._make_room()
        self._stamp += 1
        s = self._market.columns.s
        rows = self._candidates
        return rows, filled_bids.scan_filled(s, self._seen, self._stamp, rules, rows)

    def _make_room(self) -> None:
        s = self._market.columns.s
        if len(self._seen) <= s[k.SITE_COUNT]:
            self._seen = np.zeros((2 * int(s[k.SITE_COUNT]), kernels.SEEN_WORDS), np.int64)
        if len(self._candidates) < s[k.OFFER_ROWS]:
            rows = max(2 * int(s[k.OFFER_ROWS]), _ROWS_AT_START)
            self._found = np.empty(rows, np.int64)
            self._candidates = np.empty((rows, kernels.CANDIDATE_WORDS), np.int64)

    @property
    def scratch(self) -> Array:
        """As many words as there may be candidates, for whoever asks next."""
        return self._found

    def nearest(self, count: int) -> Array:
        """Return for each rule the row that the smallest change of it admits, and the size."""
        auction.nearest(self._market.columns.s, self._candidates, count, self._near)
        return self._near


def _put(market: Market, record: Any, buyer: int, agent: int) -> None:
    """Put a bid into row 0 of the table of bids, as the market does when it arrives."""
    row = market.columns[k.RESTS_TABLE][0]
    row[k.REST_BUYER], row[k.REST_AGENT] = buyer, agent
    for word, field in (
        (k.REST_CAMPAIGN, "campaign"), (k.REST_ORIGIN, "origin"), (k.REST_ASN, "origin_asn"),
        (k.REST_TOKENS_IN, "tokens_in"), (k.REST_TOKENS_OUT, "tokens_out"),
        (k.REST_ADAPTER, "adapter"), (k.REST_LEASE_US, "lease_us"), (k.REST_UNITS, "quantity"),
    ):  # fmt: skip
        row[word] = record[field]


class _Answer:
    """One bid's explanation in the making."""

    def __init__(
        self,
        explainer: Explainer,
        market: Market,
        campaign: Campaign,
        bid: Bid,
        buyer: int,
        *,
        rounded: bool,
    ) -> None:
        self._explainer = explainer
        self._market = market
        self._campaign = campaign
        self._bid = bid
        self._rounded = rounded
        self._s = market.columns.s
        self._row = market.columns[k.RESTS_TABLE][0]
        self._budget = x.budget_of(campaign, bid)
        self._ceiling = x.ceiling_of(campaign, bid)
        # What each unit may cost at most for its buyer to have the money for all of them.
        available = int(market.columns[k.BUYERS][buyer, k.BUYER_AVAILABLE])
        self._affordable = min(available // bid.quantity, limits.PRICE_NUSD_MAX)
        self._tokens = bid.tokens_in + bid.tokens_out
        self._row[k.REST_BUDGET] = self._budget
        self._row[k.REST_PRICE] = self._ceiling
        self._row[k.REST_BAND] = lists.band_of_budget(self._budget)
        self._set = [name for name in x.PRICED if x.is_set(name, campaign, bid)]
        self._candidates, self._count = self._scan()

    def _scan(self) -> tuple[Array, int]:
        """Return the candidates: only those that matter to its price, if the bid is one unit and fills."""
        if self._bid.quantity == 1 and self._ceiling <= self._affordable:
            rows, count = self._explainer.scan_filled(sum(1 << RULE[name] for name in self._set))
            if count:
                return rows, count
        return self._explainer.scan()

    def explanation(self) -> x.Explanation:
        prices: tuple[int, ...] = ()
        changes: list[x.Change] = []
        if self._ceiling > self._affordable:
            changes = self._cheaper()
        else:
            prices = self._prices()
            if len(prices) < self._bid.quantity:
                changes = self._changes(len(prices))
        bid = self._bid
        return x.Explanation(
            buyer=bid.buyer,
            agent=bid.agent,
            bid=bid.bid,
            campaign=bid.campaign,
            quantity=bid.quantity,
            tokens=self._tokens,
            prices=prices,
            constraints=self._constraints(prices) if prices else (),
            changes=tuple(changes[:1] if self._rounded else changes),
            rounded=self._rounded,
        )

    def _prices(
        self, rule: int = 0, value: int = auction.ANY, shift: int = 0, budget: int = -1
    ) -> tuple[int, ...]:
        """Return the prices of the units that fill with one rule loosened (kernels/explain.py: run)."""
        # The card prices the promise: another budget is of another band, maybe.
        self._row[k.REST_BAND] = lists.band_of_budget(self._budget if budget < 0 else budget)
        prices = np.zeros(self._bid.quantity, np.int64)
        chosen = self._explainer.scratch
        made = auction.run(
            self._s, self._candidates, self._count, rule, value, shift, chosen, prices
        )
        return tuple(prices[:made].tolist())

    # ------------------------------------------------------------------------- what filled
    def _constraints(self, prices: tuple[int, ...]) -> tuple[x.ConstraintPrice, ...]:
        found = []
        rules = self._candidates[: self._count, kernels.CAN_RULE]
        failed = np.bincount(rules, minlength=auction.RULES).tolist()
        for name in self._set:
            rule = RULE[name]
            without = prices
            if name == x.LATENCY:
                loosest = limits.LATENCY_US_MAX
                without = self._prices(rule, loosest, budget=loosest)
            elif failed[rule]:
                without = self._prices(rule)
            found.append(x.price_of(name, prices, without, self._tokens, rounded=self._rounded))
        return tuple(found)

    # ------------------------------------------------------------------------- what did not
    def _cheaper(self) -> list[x.Change]:
        """Return the change of a bid that its buyer has not the money for: a lower ceiling."""
        shift = self._affordable - self._ceiling
        prices = self._prices(shift=shift)
        if not prices:
            return []
        size = x.size_of_number(self._ceiling, self._affordable)
        return [self._change(x.CEILING, prices[0], size, value=self._affordable)]

    def _changes(self, filled: int) -> list[x.Change]:
        """Return the smallest change of each constraint that fills one unit more, smallest first."""
        near = self._explainer.nearest(self._count)
        found = []
        for name in x.CONSTRAINTS:
            row, size = near[RULE[name]].tolist()
            if row >= 0:
                change = self._smallest(name, filled, row, size)
                if change is not None:
                    found.append(change)
        found.sort(key=x.smallest_first)
        return found

    def _smallest(self, name: str, filled: int, row: int, size: int) -> x.Change | None:
        """Return the change of a constraint that admits a row of the candidates, `size` away."""
        rule = RULE[name]
        weight = x.CONSTRAINTS[name].weight
        need = int(self._candidates[row, kernels.CAN_NEED])
        if name == x.CEILING:
            new = self._ceiling + size
            if new > self._affordable:
                return None
            size = x.size_of_number(self._ceiling, new)
            if self._rounded:
                new = min(x.round_up(new), self._affordable)
            prices = self._prices(rule, shift=new - self._ceiling)
            return self._change(name, prices[filled], size, value=new)
        if name == x.LATENCY:
            new = self._budget + size
            if new > limits.LATENCY_US_MAX:
                return None
            size = x.size_of_number(self._budget, new)
            if self._rounded:
                new = min(x.round_up(new), limits.LATENCY_US_MAX)
            prices = self._prices(rule, new, budget=new)
            return self._change(name, prices[filled], size, value=new)
        if name == x.SPEED:
            size = x.size_of_number(self._campaign.min_tokens_per_second, need)
            new = x.round_down(need) if self._rounded else need
            return self._change(name, self._prices(rule, new)[filled], size, value=new)
        if name == x.TRUST:
            return self._change(name, self._prices(rule, need)[filled], weight * size, value=need)
        if name in {"cold", "peering"}:
            return self._change(name, self._prices(rule)[filled], weight)
        if size == auction.LEFT_OUT:
            price = self._prices(rule)[filled]
            return self._change(name, price, weight * x.ENTRIES_OF_A_LIST)
        value = need
        site = int(self._candidates[row, kernels.CAN_SITE])
        if name in {"data_residency", "sovereignty"}:
            value = site
        entries = self._entries(name, need, site)
        price = self._prices(rule, value)[filled]
        return self._change(name, price, weight * size, entries=entries)

    def _entries(self, name: str, need: int, site: int) -> tuple[str, ...]:
        """Return by name what a row's offer needs added to the list, or no longer required."""
        if name in _CLOSED:
            return (_CLOSED[name][need],)
        if name in _REQUIRED:
            return tuple(sorted(names_of(need, _REQUIRED[name])))
        if name == x.OPERATOR:
            return (self._market.names.name("operator", need),)
        if name == "residency":
            country = country_name(need)
            assert country is not None
            return (country,)
        columns = self._market.columns
        if name == "data_residency":
            words = columns[k.SITES][site, k.SITE_DATA :]
            allowed = self._campaign.data_residency
        else:
            operator = columns[k.SITES][site, k.SITE_OPERATOR]
            words = columns[k.OPERATORS][operator, k.OPERATOR_CONTROL :]
            allowed = self._campaign.sovereignty
        countries = _countries(words[: k.COUNTRY_WORDS].tolist())
        return tuple(sorted(country for country in countries if country not in allowed))

    def _change(
        self,
        name: str,
        price: int,
        size: int,
        *,
        value: int | None = None,
        entries: tuple[str, ...] = (),
    ) -> x.Change:
        shown = x.round_up if self._rounded else int
        return x.Change(
            constraint=name,
            price=shown(price),
            pusd_per_token=shown(x.pusd_per_token(price, self._tokens)),
            size=size,
            value=value,
            entries=entries,
        )


def _countries(words: list[int]) -> list[str]:
    """Return the countries of a set of bits."""
    found = []
    for place, word in enumerate(words):
        bits = word & (2**64 - 1)
        while bits:
            low = bits & -bits
            country = country_name(64 * place + low.bit_length() - 1)
            assert country is not None  # bit 0 is unknown, which no set holds
            found.append(country)
            bits ^= low
    return found
