"""Commands that are rare: checked and carried out in Python, on the same columns as the kernels.

Each comes after `run(CLOCK)`, so the time has passed and the expiries have been. Checks stand in
MARKET_FILE.md's order. A function returns the number of the reason it rejects for, or ACCEPTED.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from matching_core import columns as k
from matching_core.event_rows import country_number
from matching_core.jit import Array
from matching_core.kernels.bounds import mix_groups
from matching_core.kernels.campaigns import compile_campaign, compile_site
from matching_core.kernels.entry import END_CAMPAIGN, HALT_BUYER, RESOLVE, act
from matching_core.kernels.hopes import note_peers
from matching_core.registry import Names
from matching_core.tables import Columns
from matching_core.twin import mask_of
from schemas import commands as c
from schemas import limits, lists
from schemas.reasons import ACCEPTED, REJECTED

if TYPE_CHECKING:
    from matching_core.market import Market

UNKNOWN: Final = REJECTED["unknown"]
EXISTS: Final = REJECTED["exists"]
DUPLICATE: Final = REJECTED["duplicate"]
LIMIT: Final = REJECTED["limit"]
FUNDS: Final = REJECTED["funds"]
STATE: Final = REJECTED["state"]

_ONE = np.uint64(1)


def apply_rare(market: "Market", command: c.AnyCommand) -> int:
    """Carry a rare command out; returns ACCEPTED or the number of the reason why not."""
    return _RULES[type(command)](market.columns, market.names, command)


# ----------------------------------------------------------------------------- helpers
def _set_countries(table: Array, row: int, word: int, countries: tuple[str, ...]) -> None:
    bits = [0] * k.COUNTRY_WORDS
    for country in countries:
        number = country_number(country)
        bits[number >> 6] |= 1 << (number & 63)
    table[row, word : word + k.COUNTRY_WORDS] = np.array(bits, np.uint64).view(np.int64)


def _set_bits(table: Array, row: int, numbers: list[int]) -> None:
    table[row] = 0
    for number in numbers:
        table[row, number >> 6] |= _ONE << np.uint64(number & 63)


def _register(columns: Columns, names: Names, kind: str, at: int, command: Any) -> tuple[int, bool]:
    """Return (handle, whether it is new) of the entity a command names; its row is there."""
    name = getattr(command, kind)
    handle = names.handle(kind, name)
    if handle:
        names.replace(kind, handle, command)
        return handle, False
    handle = names.add(kind, name, command)
    columns.ensure(at, handle + 1)
    return handle, True


def _open_site(columns: Columns, site: int) -> None:
    """Set the bit that says that neither a site nor its operator is halted."""
    sites = columns[k.SITES]
    operator = sites[site, k.SITE_OPERATOR]
    halts = sites[site, k.SITE_HALTS] | columns[k.OPERATORS][operator, k.OPERATOR_HALTS]
    bit = _ONE << np.uint64(site & 63)
    if halts:
        columns[k.OPEN_SITES][0, site >> 6] &= ~bit
    else:
        columns[k.OPEN_SITES][0, site >> 6] |= bit


def _sites_of(columns: Columns, operator: int) -> list[int]:
    used = columns[k.SITES][: columns.s[k.SITE_COUNT] + 1, k.SITE_OPERATOR]
    return [int(site) for site in np.nonzero(used == operator)[0] if site]


# ----------------------------------------------------------------------------- members and money
def _operator(columns: Columns, names: Names, command: c.Operator) -> int:
    handle, new = _register(columns, names, "operator", k.OPERATORS, command)
    row = columns[k.OPERATORS][handle]
    if new:
        columns.s[k.OPERATOR_COUNT] = handle
        columns.widen(k.OPERATOR_WORDS, handle)
        row[k.OPERATOR_TRANSFER] = 0
    row[k.OPERATOR_GROUP] = names.group(command.owner_group)
    row[k.OPERATOR_CONTROL_COUNT] = len(command.control)
    _set_countries(columns[k.OPERATORS], handle, k.OPERATOR_CONTROL, command.control)
    for site in _sites_of(columns, handle):
        if columns[k.SITES][site, k.SITE_GROUP] != row[k.OPERATOR_GROUP]:
            columns[k.SITES][site, k.SITE_GROUP] = row[k.OPERATOR_GROUP]
            mix_groups(columns.s, site)
        compile_site(columns.s, site)
    return ACCEPTED


def _buyer(columns: Columns, names: Names, command: c.Buyer) -> int:
    handle, new = _register(columns, names, "buyer", k.BUYERS, command)
    if new:
        columns.s[k.BUYER_COUNT] = handle
        columns.widen(k.BUYER_WORDS, handle)
    row = columns[k.BUYERS][handle]
    group = names.group(command.owner_group)
    if row[k.BUYER_GROUP] == group:
        return ACCEPTED
    row[k.BUYER_GROUP] = group
    last = columns.s[k.CAMPAIGN_COUNT] + 1
    for campaign in np.nonzero(columns[k.CAMPAIGNS][:last, k.CAMPAIGN_BUYER] == handle)[0]:
        compile_campaign(columns.s, int(campaign))
    return ACCEPTED


def _transfer(columns: Columns, names: Names, command: c.Deposit | c.Withdraw) -> int:
    handle = names.handle(command.role, command.member)
    if not handle:
        return UNKNOWN
    if command.role == "buyer":
        row, money, last = columns[k.BUYERS][handle], k.BUYER_AVAILABLE, k.BUYER_TRANSFER
    else:
        row, money, last = columns[k.OPERATORS][handle], k.OPERATOR_BALANCE, k.OPERATOR_TRANSFER
    if command.transfer <= row[last]:
        return DUPLICATE
    amount = command.amount
    if isinstance(command, c.Deposit):
        if int(columns.s[k.DEPOSITS]) + amount > limits.DEPOSITS_NUSD_MAX:
            return LIMIT
    elif amount > row[money]:
        return FUNDS
    else:
        amount = -amount
    row[money] += amount
    row[last] = command.transfer
    columns.s[k.DEPOSITS] += amount
    return ACCEPTED


def _rules(columns: Columns, _names: Names, command: c.Rules) -> int:
    for word, value in (
        (k.TAKE, command.take_rate_ppm),
        (k.RENT, command.rent_ppm_per_s),
        (k.TOLERANCE, command.tolerance_ppm),
        (k.SETTLE, command.settle_us),
        (k.DELIVER, command.deliver_us),
        (k.DISPUTE, command.dispute_us),
    ):
        if value is not msgspec.UNSET:
            columns.s[word] = value
    columns.keep_terms()
    return ACCEPTED


# ----------------------------------------------------------------------------- reference data
def _set_cards(columns: Columns, names: Names, model: int) -> None:
    """Write a model's card for every band: the band's own, else the model's."""
    of_model = names.detail("model", model)
    assert isinstance(of_model, c.Model)
    row = columns[k.MODELS][model]
    for number, band in enumerate(lists.BANDS_MS):
        card = names.price_cards.get((of_model.model, band), of_model)
        word = k.MODEL_CARDS + 3 * number
        row[word : word + 3] = (card.card_in, card.card_out, card.card_second)


def _model(columns: Columns, names: Names, command: c.Model) -> int:
    handle, new = _register(columns, names, "model", k.MODELS, command)
    if new:
        columns.s[k.MODEL_COUNT] = handle
    _set_cards(columns, names, handle)
    return ACCEPTED


def _price_card(columns: Columns, names: Names, command: c.PriceCard) -> int:
    handle = names.handle("model", command.model)
    if not handle:
        return UNKNOWN
    names.price_cards[command.model, command.band] = command
    _set_cards(columns, names, handle)
    return ACCEPTED


def _metro(columns: Columns, names: Names, command: c.Metro) -> int:
    handle, new = _register(columns, names, "metro", k.RTT, command)
    if new:
        columns.s[k.METRO_COUNT] = handle
    return ACCEPTED


def _site(columns: Columns, names: Names, command: c.Site) -> int:
    operator = names.handle("operator", command.operator)
    if not operator:
        return UNKNOWN
    known = names.handle("site", command.site)
    if known and columns[k.SITES][known, k.SITE_OPERATOR] != operator:
        return STATE
    handle, new = _register(columns, names, "site", k.SITES, command)
    if new:
        columns.s[k.SITE_COUNT] = handle
        width = columns.s[k.SITE_WORDS]
        columns.widen(k.SITE_CAPACITY, handle)
        if columns.s[k.SITE_WORDS] != width:
            for other in range(1, handle):
                note_peers(columns.s, other)
    row = columns[k.SITES][handle]
    row[k.SITE_OPERATOR] = operator
    row[k.SITE_GROUP] = columns[k.OPERATORS][operator, k.OPERATOR_GROUP]
    row[k.SITE_TIER] = lists.TIERS.index(command.tier)
    row[k.SITE_COUNTRY] = country_number(command.country)
    row[k.SITE_CERTIFICATIONS] = mask_of(command.certifications, lists.CERTIFICATIONS)
    row[k.SITE_DATA_COUNT] = len(command.data_countries)
    _set_countries(columns[k.SITES], handle, k.SITE_DATA, command.data_countries)
    _set_asns(columns, names, handle, command.asns)
    note_peers(columns.s, handle)
    _open_site(columns, handle)
    compile_site(columns.s, handle)
    return ACCEPTED


def _set_asns(columns: Columns, names: Names, site: int, asns: tuple[int, ...]) -> None:
    """Write the networks a site peers with behind all others; pack the table when it is full."""
    s = columns.s
    if s[k.ASN_COUNT] + len(asns) > s[k.ASNS + 1]:
        s[k.ASN_COUNT] = 0
        kept = [
            (other, detail.asns)
            for other in range(1, int(s[k.SITE_COUNT]) + 1)
            if isinstance(detail := names.detail("site", other), c.Site) and other != site
        ]
        columns.ensure(k.ASNS, 2 * (sum(len(their) for _, their in kept) + len(asns)))
        for other, their in kept:
            _put_asns(columns, other, their)
    _put_asns(columns, site, asns)


def _put_asns(columns: Columns, site: int, asns: tuple[int, ...]) -> None:
    s, row = columns.s, columns[k.SITES][site]
    first = int(s[k.ASN_COUNT])
    row[k.SITE_ASN_FIRST], row[k.SITE_ASN_COUNT] = first, len(asns)
    columns[k.ASNS][first : first + len(asns), 0] = asns
    s[k.ASN_COUNT] += len(asns)


def _site_trust(columns: Columns, names: Names, command: c.SiteTrust) -> int:
    site = names.handle("site", command.site)
    if not site:
        return UNKNOWN
    row = columns[k.SITES][site]
    if command.latency_margin_us is not msgspec.UNSET:
        row[k.SITE_MARGIN] = command.latency_margin_us
    if command.trust is not msgspec.UNSET:
        row[k.SITE_TRUST] = command.trust
        compile_site(columns.s, site)
    return ACCEPTED


def _adapter(columns: Columns, names: Names, command: c.Adapter) -> int:
    model = names.handle("model", command.model)
    if not model:
        return UNKNOWN
    known = names.handle("adapter", command.adapter)
    if known and columns[k.ADAPTERS][known, 0] != model:
        return STATE
    handle, new = _register(columns, names, "adapter", k.ADAPTERS, command)
    if new:
        columns.s[k.ADAPTER_COUNT] = handle
        columns[k.ADAPTERS][handle, 0] = model
    return ACCEPTED


def _deal(columns: Columns, names: Names, command: c.Deal) -> int:
    operator = names.handle("operator", command.operator)
    buyers = [names.handle("buyer", buyer) for buyer in command.buyers]
    if not operator or not all(buyers):
        return UNKNOWN
    known = names.handle("deal", command.deal)
    if known and columns[k.DEALS][known, 0] != operator:
        return STATE
    handle, new = _register(columns, names, "deal", k.DEALS, command)
    if new:
        columns.s[k.DEAL_COUNT] = handle
        columns[k.DEALS][handle, 0] = operator
    _set_bits(columns[k.DEAL_BUYERS], handle, buyers)
    return ACCEPTED


# ----------------------------------------------------------------------------- halts
def _halt(columns: Columns, names: Names, command: c.Halt | c.Resume) -> int:
    handle = names.handle(command.scope, command.name) if command.scope != "exchange" else 0
    if command.scope != "exchange" and not handle:
        return UNKNOWN
    bit = 1 << lists.AUTHORITIES.index(command.by)
    table, row, word = {
        "exchange": (columns.s.reshape(-1, 1), k.EXCHANGE_HALTS, 0),
        "operator": (columns[k.OPERATORS], handle, k.OPERATOR_HALTS),
        "site": (columns[k.SITES], handle, k.SITE_HALTS),
        "model": (columns[k.MODELS], handle, k.MODEL_HALTS),
        "buyer": (columns[k.BUYERS], handle, k.BUYER_HALTS),
    }[command.scope]
    halting = isinstance(command, c.Halt)
    halts = int(table[row, word])
    table[row, word] = halts | bit if halting else halts & ~bit
    if command.scope == "site":
        _open_site(columns, handle)
    elif command.scope == "operator":
        for site in _sites_of(columns, handle):
            _open_site(columns, site)
    elif command.scope == "buyer" and halting:
        act(columns.s, HALT_BUYER, handle, 0)
    return ACCEPTED


# ----------------------------------------------------------------------------- campaigns
def _campaign(columns: Columns, names: Names, command: c.Campaign) -> int:
    buyer = names.handle("buyer", command.buyer)
    models = [names.handle("model", entry.model) for entry in command.models]
    allowed = [names.handle("operator", name) for name in command.allow_operators]
    denied = [names.handle("operator", name) for name in command.deny_operators]
    if not buyer or not all(models) or not all(allowed) or not all(denied):
        return UNKNOWN
    if names.handle("campaign", command.campaign, buyer):
        return EXISTS
    if columns[k.BUYERS][buyer, k.BUYER_CAMPAIGNS] >= limits.CAMPAIGNS_MAX:
        return LIMIT
    handle = names.add("campaign", command.campaign, command, buyer)
    columns.ensure(k.CAMPAIGNS, handle + 1)
    columns.s[k.CAMPAIGN_COUNT] = handle
    columns[k.BUYERS][buyer, k.BUYER_CAMPAIGNS] += 1
    table = columns[k.CAMPAIGNS]
    row = table[handle]
    row[k.CAMPAIGN_BUYER] = buyer
    row[k.CAMPAIGN_STANDING] = 1
    row[k.CAMPAIGN_BUDGET] = command.latency_budget_us
    row[k.CAMPAIGN_UNIT_PRICE] = command.max_unit_price
    row[k.CAMPAIGN_TIME_VALUE] = command.time_value
    row[k.CAMPAIGN_CAPABILITIES] = mask_of(command.capabilities, lists.CAPABILITIES)
    row[k.CAMPAIGN_HARDWARE] = mask_of(command.hardware, lists.HARDWARE)
    row[k.CAMPAIGN_PRECISIONS] = mask_of(command.precisions, lists.PRECISIONS)
    row[k.CAMPAIGN_CONTRACTS] = mask_of(command.contracts, lists.CONTRACTS)
    row[k.CAMPAIGN_SPEED] = command.min_tokens_per_second
    row[k.CAMPAIGN_PEERING] = command.peering
    row[k.CAMPAIGN_COLD] = command.accept_cold
    row[k.CAMPAIGN_MODEL_COUNT] = len(models)
    for place, entry in enumerate(command.models):
        row[k.CAMPAIGN_MODELS + place] = models[place]
        row[k.CAMPAIGN_MARKDOWNS + place] = entry.markdown
    row[k.CAMPAIGN_CERTIFICATIONS] = mask_of(command.certifications, lists.CERTIFICATIONS)
    row[k.CAMPAIGN_TIERS] = mask_of(command.tiers, lists.TIERS)
    row[k.CAMPAIGN_TRUST] = command.min_trust
    row[k.CAMPAIGN_RULES_SET] = (
        (k.RESIDENCY_SET if command.residency else 0)
        | (k.DATA_SET if command.data_residency else 0)
        | (k.SOVEREIGNTY_SET if command.sovereignty else 0)
    )
    row[k.CAMPAIGN_ALLOWS] = bool(allowed)
    listed = [operator for operator in allowed if operator not in denied] if allowed else denied
    _set_bits(columns[k.CAMPAIGN_OPERATORS], handle, listed)
    _set_countries(table, handle, k.CAMPAIGN_RESIDENCY, command.residency)
    _set_countries(table, handle, k.CAMPAIGN_DATA, command.data_residency)
    _set_countries(table, handle, k.CAMPAIGN_SOVEREIGNTY, command.sovereignty)
    compile_campaign(columns.s, handle)
    return ACCEPTED


def _campaign_end(columns: Columns, names: Names, command: c.CampaignEnd) -> int:
    buyer = names.handle("buyer", command.buyer)
    handle = names.handle("campaign", command.campaign, buyer)
    if not buyer or not handle:
        return UNKNOWN
    act(columns.s, END_CAMPAIGN, buyer, handle)
    names.end("campaign", handle, buyer)
    columns[k.BUYERS][buyer, k.BUYER_CAMPAIGNS] -= 1
    columns[k.CAMPAIGNS][handle] = 0
    return ACCEPTED


def _resolve(columns: Columns, _names: Names, command: c.Resolve) -> int:
    return act(columns.s, RESOLVE, command.fill, command.amount)


def _clock(_columns: Columns, _names: Names, _command: c.Clock) -> int:
    return ACCEPTED


_RULES: Final[dict[type, Callable[[Columns, Names, Any], int]]] = {
    c.Operator: _operator,
    c.Buyer: _buyer,
    c.Deposit: _transfer,
    c.Withdraw: _transfer,
    c.Rules: _rules,
    c.Model: _model,
    c.PriceCard: _price_card,
    c.Metro: _metro,
    c.Site: _site,
    c.Resolve: _resolve,
    c.SiteTrust: _site_trust,
    c.Halt: _halt,
    c.Resume: _halt,
    c.Deal: _deal,
    c.Adapter: _adapter,
    c.Campaign: _campaign,
    c.CampaignEnd: _campaign_end,
    c.Clock: _clock,
}
