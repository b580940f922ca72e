"""The book at rest and the bids on it in plain arrays, and the rule's end, for peers (MARKET.md §5, 6a).

Everything stands as a user would keep it who has no core: one row per live offer, sorted by model;
one row of round trips per metro; a row of admitted sites per campaign (rules 4 to 11, which do not
depend on the request). Rules are written from MARKET.md and share nothing with the core.
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from matching_core import columns as k
from matching_core.market import Market
from schemas import commands as c
from schemas import lists
from schemas.records import NONE_U32, NONE_U64

Array = npt.NDArray[Any]
FAR: Final = 2**30  # µs; a site that is out of reach or not admitted
OFFER_COLUMNS: Final = (
    "model", "site", "offer", "available", "ask_in", "ask_out", "ask_second", "deal", "ttft_us",
    "prefill_ns_per_token", "tokens_per_second", "context_limit", "cold_start_us", "capabilities",
    "hardware", "precision", "contract", "priority",
)  # fmt: skip
ANY: Final = -1  # a mask with every bit: nothing is asked


class Answer(NamedTuple):
    """Who won one unit and at what price; zeros when nobody did."""

    site: int = 0
    offer: int = 0
    price: int = 0


class Candidate(NamedTuple):
    """An eligible offer as far as the rule's end needs it; `row` is its place in the book."""

    score: int
    latency: int
    priority: int
    owner: int
    cost: int
    row: int
    model: int

    @property
    def rank(self) -> tuple[int, int, int]:
        """The smaller, the better: score, then latency, then priority number."""
        return -self.score, self.latency, self.priority


@dataclass(frozen=True)
class Rules:
    """A campaign with names as handles; masks have a bit per number of `schemas.lists`."""

    campaign: int
    buyer_owner: int
    deals: tuple[int, ...]
    models: tuple[tuple[int, int], ...]  # (model, markdown)
    residency: tuple[str, ...]
    data_residency: tuple[str, ...]
    sovereignty: tuple[str, ...]
    certifications: int
    tiers: int
    allow: tuple[int, ...]
    deny: tuple[int, ...]
    trust: int
    capabilities: int
    hardware: int
    precisions: int
    contracts: int
    speed: int
    cold: bool
    time_value: int
    budget_us: int
    unit_price: int


@dataclass(frozen=True)
class Question:
    """One unit of a bid: the campaign's rules and the request's numbers."""

    rules: Rules
    buyer: int
    record: Array  # BID_RECORD[1], to ask the core the same
    origin: int
    tokens_in: int
    tokens_out: int
    lease_us: int
    budget_us: int
    max_price: int
    cards: tuple[int, ...]  # card(b, o) of each model of the rules


@dataclass(frozen=True)
class Book:
    """All of a market that an auction needs; arrays of int64.

    `offers[name]` has a value per live offer, by (model, site, offer); those of model m stand at
    `starts[m]` to `starts[m + 1]`. `path_us[metro, site]` is round trip plus margin, FAR when there is
    none. `admitted[campaign, site]` is rules 4 to 11. `sites[name]`: owner, operator, tier, trust,
    certifications and, as a place in the list of the same name, country, data_set, control_set.
    """

    offers: dict[str, Array]
    starts: Array
    sites: dict[str, Array]
    countries: list[str]
    data_sets: list[tuple[str, ...]]
    control_sets: list[tuple[str, ...]]
    path_us: Array
    admitted: Array
    rules: dict[int, Rules]
    deal_buyers: Array  # bool[deals + 1, buyers + 1]; deal 0 is the open market's


def _mask(names: tuple[str, ...], of: tuple[str, ...]) -> int:
    return sum(1 << of.index(name) for name in names)


def _number(values: list[Any], value: Any, known: dict[Any, int]) -> int:
    """Return the place of a value in a list, adding it when it is new."""
    if value not in known:
        known[value] = len(values)
        values.append(value)
    return known[value]


def read_book(market: Market) -> Book:
    """Read a market's live offers, sites and standing campaigns; bids come from `questions`."""
    live = market.book()
    live = live[np.lexsort((live["offer"], live["site"], live["model"]))]
    offers = {name: np.ascontiguousarray(live[name]) for name in OFFER_COLUMNS}
    models = market.handle_count("model")
    starts = np.searchsorted(offers["model"], np.arange(models + 2))
    owners: dict[str, int] = {}
    sites, countries, data_sets, control_sets = _sites(market, owners)
    offers["owner"] = sites["owner"][offers["site"]]
    rtt = market.rtt_us()
    path_us = np.where(rtt < 0, FAR, rtt + market.margins_us())
    deals = np.zeros((market.handle_count("deal") + 1, market.handle_count("buyer") + 1), np.bool_)
    for deal in range(1, len(deals)):
        detail = market.detail("deal", deal)
        assert isinstance(detail, c.Deal)
        for buyer in detail.buyers:
            deals[deal, market.names.handle("buyer", buyer)] = True
    rules = {}
    admitted = np.zeros((market.handle_count("campaign") + 1, len(sites["owner"])), np.bool_)
    for campaign in range(1, len(admitted)):
        detail = market.detail("campaign", campaign)
        if isinstance(detail, c.Campaign) and not detail.peering:
            rules[campaign] = _rules(market, campaign, detail, owners, deals)
            admitted[campaign] = _admitted(
                rules[campaign], sites, countries, data_sets, control_sets
            )
    return Book(
        offers, starts, sites, countries, data_sets, control_sets, path_us, admitted, rules, deals
    )


def _sites(
    market: Market, owners: dict[str, int]
) -> tuple[dict[str, Array], list[str], list[tuple[str, ...]], list[tuple[str, ...]]]:
    count = market.handle_count("site") + 1
    names = (
        "owner", "operator", "tier", "certifications", "country", "data_set", "control_set",
    )  # fmt: skip
    sites = {name: np.zeros(count, np.int64) for name in names}
    # Trust is the verifier's word and in no Struct of the site.
    sites["trust"] = market.columns[k.SITES][:count, k.SITE_TRUST].copy()
    countries: list[str] = [""]
    data_sets: list[tuple[str, ...]] = [()]
    control_sets: list[tuple[str, ...]] = [()]
    known: tuple[dict[Any, int], ...] = ({"": 0}, {(): 0}, {(): 0})
    for handle in range(1, count):
        site = market.detail("site", handle)
        assert isinstance(site, c.Site)
        operator = market.detail("operator", market.names.handle("operator", site.operator))
        assert isinstance(operator, c.Operator)
        row = (
            owners.setdefault(operator.owner_group, len(owners) + 1),
            market.names.handle("operator", site.operator),
            lists.TIERS.index(site.tier),
            _mask(site.certifications, lists.CERTIFICATIONS),
            _number(countries, site.country or "", known[0]),
            _number(data_sets, tuple(sorted(site.data_countries)), known[1]),
            _number(control_sets, tuple(sorted(operator.control)), known[2]),
        )
        for name, value in zip(names, row, strict=True):
            sites[name][handle] = value
    return sites, countries, data_sets, control_sets


def _rules(
    market: Market, handle: int, campaign: c.Campaign, owners: dict[str, int], deals: Array
) -> Rules:
    buyer_handle = market.names.handle("buyer", campaign.buyer)
    buyer = market.detail("buyer", buyer_handle)
    assert isinstance(buyer, c.Buyer)

    def operators(names: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(market.names.handle("operator", name) for name in names)

    return Rules(
        campaign=handle,
        buyer_owner=owners.setdefault(buyer.owner_group, len(owners) + 1),
        deals=tuple(np.nonzero(deals[:, buyer_handle])[0].tolist()),
        models=tuple(
            (market.names.handle("model", entry.model), entry.markdown) for entry in campaign.models
        ),
        residency=campaign.residency,
        data_residency=campaign.data_residency,
        sovereignty=campaign.sovereignty,
        certifications=_mask(campaign.certifications, lists.CERTIFICATIONS),
        tiers=_mask(campaign.tiers, lists.TIERS) or ANY,
        allow=operators(campaign.allow_operators),
        deny=operators(campaign.deny_operators),
        trust=campaign.min_trust,
        capabilities=_mask(campaign.capabilities, lists.CAPABILITIES),
        hardware=_mask(campaign.hardware, lists.HARDWARE) or ANY,
        precisions=_mask(campaign.precisions, lists.PRECISIONS) or ANY,
        contracts=_mask(campaign.contracts, lists.CONTRACTS) or ANY,
        speed=campaign.min_tokens_per_second,
        cold=campaign.accept_cold,
        time_value=campaign.time_value,
        budget_us=campaign.latency_budget_us,
        unit_price=campaign.max_unit_price,
    )


def inside(values: list[tuple[str, ...]], allowed: tuple[str, ...]) -> list[int]:
    """Return the places of the sets that are known and wholly allowed: unknown fails a rule."""
    return [place for place, each in enumerate(values) if each and set(each) <= set(allowed)]


def _admitted(
    rules: Rules, sites: dict[str, Array], countries: list[str],
    data_sets: list[tuple[str, ...]], control_sets: list[tuple[str, ...]],
) -> Array:  # fmt: skip
    """Return rules 4 to 11 of a campaign for every site; nobody's site 0 is never admitted."""
    fits: Array = sites["owner"] != rules.buyer_owner
    if rules.residency:
        allowed = [place for place, name in enumerate(countries) if name in rules.residency]
        fits &= np.isin(sites["country"], allowed)
    if rules.data_residency:
        fits &= np.isin(sites["data_set"], inside(data_sets, rules.data_residency))
    if rules.sovereignty:
        fits &= np.isin(sites["control_set"], inside(control_sets, rules.sovereignty))
    fits &= (sites["certifications"] & rules.certifications) == rules.certifications
    fits &= (rules.tiers >> sites["tier"]) & 1 == 1
    if rules.allow:
        fits &= np.isin(sites["operator"], rules.allow)
    fits &= ~np.isin(sites["operator"], rules.deny)
    fits &= sites["trust"] >= rules.trust
    fits[0] = False
    return fits


def questions(market: Market, book: Book, bids: list[tuple[int, Array]]) -> list[Question]:
    """Make questions of frames of bids (buyer, BID_RECORD[n]): one unit each, none that rests.

    Bids that name an adapter and campaigns that ask for peering are left out: peers know neither.
    """
    asked = []
    for buyer, batch in bids:
        for place in range(len(batch)):
            record = batch[place : place + 1].copy()
            rules = book.rules.get(int(record["campaign"][0]))
            if rules is None or record["adapter"][0] != 0:
                continue
            record["quantity"], record["rest_us"] = 1, 0
            asked.append(_question(market, buyer, record, rules))
    return asked


def _question(market: Market, buyer: int, record: Array, rules: Rules) -> Question:
    named = record[0]
    tokens_in, tokens_out = int(named["tokens_in"]), int(named["tokens_out"])
    budget_us, max_price = int(named["latency_budget_us"]), int(named["max_price"])
    if budget_us == NONE_U32:
        budget_us = rules.budget_us
    if max_price == NONE_U64:
        max_price = rules.unit_price * (tokens_in + tokens_out) // 1000
    band = lists.BANDS_MS[lists.band_of_budget(budget_us)]
    lease_us = int(named["lease_us"])
    cards = []
    for model, _ in rules.models:
        detail = market.detail("model", model)
        assert isinstance(detail, c.Model)
        card = market.names.price_cards.get((detail.model, band), detail)
        cards.append(
            price(tokens_in, card.card_in, tokens_out, card.card_out, lease_us, card.card_second)
        )
    return Question(
        rules, buyer, record, int(named["origin"]), tokens_in, tokens_out, lease_us, budget_us,
        max_price, tuple(cards),
    )  # fmt: skip


def price(
    tokens_in: int, per_in: int, tokens_out: int, per_out: int, lease_us: int, per_second: int
) -> int:
    """Return what tokens and lease cost at given prices, in n$ (MARKET.md §5, `cost` and `card`)."""
    tokens = tokens_in * per_in + tokens_out * per_out
    return -(-tokens // 1000) + -(-per_second * lease_us // 1_000_000)


def best_two(candidates: list[Candidate]) -> list[Candidate]:
    """Return the best and the best of another owner: none, one or two."""
    ranked = sorted(candidates, key=lambda each: each.rank)
    others = [each for each in ranked if each.owner != ranked[0].owner]
    return ranked[:1] + others[:1]


def conclude(
    book: Book, question: Question, opened: list[Candidate], deals: list[Candidate]
) -> Answer:
    """Return the winner and its price (MARKET.md §6a).

    `opened` has the best open offer of each model and that model's best of another owner: the rival
    is among them. `deals` has the best offer with a deal, per model.
    """
    winner: Candidate | None = None
    paid = 0
    if opened:
        two = best_two(opened)
        winner = two[0]
        value = winner.score + winner.cost
        card = question.cards[[model for model, _ in question.rules.models].index(winner.model)]
        paid = max(winner.cost, min(value, card))
        if len(two) == 2:
            paid = min(paid, value - two[1].score)
    if deals:
        deal = best_two(deals)[0]
        if winner is None or deal.score >= winner.score + winner.cost - paid:
            winner, paid = deal, deal.cost
    if winner is None:
        return Answer()
    return Answer(int(book.offers["site"][winner.row]), int(book.offers["offer"][winner.row]), paid)
