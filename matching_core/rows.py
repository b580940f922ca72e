"""The compiled market's state as rows of the digest (matching_core/digest.py says what is in each)."""

from collections.abc import Iterator

import numpy as np

from matching_core import columns as k
from matching_core.digest import OFFER_FIELDS_LEFT_OUT, Row, struct_fields
from matching_core.jit import Array
from matching_core.registry import Names
from matching_core.tables import Columns
from matching_core.twin import names_of
from schemas import commands as c
from schemas import lists

_STATES = {k.LEASED: "leased", k.STARTED: "started", k.DISPUTED: "disputed"}


def rows(columns: Columns, names: Names) -> Iterator[Row]:
    """Yield every row of the digest, in its order."""
    s = columns.s.tolist()
    yield ("market", s[k.SEQ], s[k.AT], s[k.FILLS_MADE], int(columns[k.SUMS][0, 0]))
    yield ("rules", s[k.TAKE], s[k.RENT], s[k.TOLERANCE], s[k.SETTLE], s[k.DELIVER], s[k.DISPUTE])
    yield ("money", s[k.FEES], s[k.WITHHELD], s[k.DEPOSITS])
    yield from _members(columns, names)
    yield from _reference_data(columns, names)
    yield from _halts(columns, names)
    yield from _book(columns, names)
    yield from _rests(columns, names)
    yield from _fills(columns, names)


def _fields(names: Names, kind: str, handle: int) -> Row:
    detail = names.detail(kind, handle)
    assert detail is not None
    return struct_fields(detail)


def _members(columns: Columns, names: Names) -> Iterator[Row]:
    for handle in names.sorted_handles("operator"):
        row = columns[k.OPERATORS][handle].tolist()
        fields = _fields(names, "operator", handle)
        yield ("operator", *fields, row[k.OPERATOR_BALANCE], row[k.OPERATOR_TRANSFER])
    last_bids: dict[int, list[Row]] = {}
    for key, bid in sorted(columns[k.AGENTS].tolist()):
        if key:
            buyer, agent = divmod(key - 1, k.AGENTS_PER_BUYER_KEY)
            last_bids.setdefault(buyer, []).append((agent, bid))
    for handle in names.sorted_handles("buyer"):
        row = columns[k.BUYERS][handle].tolist()
        yield (
            "buyer", *_fields(names, "buyer", handle), row[k.BUYER_AVAILABLE],
            row[k.BUYER_TRANSFER], tuple(last_bids.get(handle, ())),
        )  # fmt: skip


def _reference_data(columns: Columns, names: Names) -> Iterator[Row]:
    for handle in names.sorted_handles("model"):
        yield ("model", *_fields(names, "model", handle))
    for _, card in sorted(names.price_cards.items()):
        yield ("price_card", *struct_fields(card))
    for handle in names.sorted_handles("adapter"):
        yield ("adapter", *_fields(names, "adapter", handle))
    metros = names.sorted_handles("metro")
    for handle in metros:
        yield ("metro", *_fields(names, "metro", handle))
    sites = names.sorted_handles("site")
    for handle in sites:
        row = columns[k.SITES][handle].tolist()
        yield ("site", *_fields(names, "site", handle), row[k.SITE_TRUST], row[k.SITE_MARGIN])
    rtt = columns[k.RTT]
    for site in sites:
        of_site = rtt[:, site].tolist()
        for metro in metros:
            kept = of_site[metro]
            if kept != k.UNREACHABLE:
                called = (names.name("site", site), names.name("metro", metro))
                yield ("rtt", *called, kept >> 1, bool(kept & 1))
    for handle in names.sorted_handles("deal"):
        yield ("deal", *_fields(names, "deal", handle))


def _halts(columns: Columns, names: Names) -> Iterator[Row]:
    masks = [("exchange", "", int(columns.s[k.EXCHANGE_HALTS]))]
    for scope, at, word in (
        ("operator", k.OPERATORS, k.OPERATOR_HALTS),
        ("site", k.SITES, k.SITE_HALTS),
        ("model", k.MODELS, k.MODEL_HALTS),
        ("buyer", k.BUYERS, k.BUYER_HALTS),
    ):
        halted = np.nonzero(columns[at][: names.count(scope) + 1, word])[0].tolist()
        masks += [(scope, names.name(scope, h), int(columns[at][h, word])) for h in halted]
    yield from sorted(
        ("halt", scope, name, by)
        for scope, name, mask in masks
        for place, by in enumerate(lists.AUTHORITIES)
        if mask >> place & 1
    )


def _book(columns: Columns, names: Names) -> Iterator[Row]:
    campaigns = [
        detail
        for handle in names.sorted_handles("campaign")
        if isinstance(detail := names.detail("campaign", handle), c.Campaign)
    ]
    for campaign in sorted(campaigns, key=lambda each: (each.buyer, each.campaign)):
        yield ("campaign", *struct_fields(campaign))
    asks, narrow = columns[k.ASKS], columns.narrow(k.ASKS)
    named = []
    for offer in range(1, int(columns.s[k.OFFER_ROWS])):
        row = offer_words(columns, offer)
        ask = [*asks[offer, : k.ASK_SECOND + 1].tolist(), *narrow[offer].tolist()[3:]]
        named.append((names.name("site", ask[k.ASK_SITE]), row[k.OFFER_NUMBER], row, ask))
    named.sort(key=lambda each: each[:2])
    for site, _, row, ask in named:
        if row[k.OFFER_SPOT]:
            fields = struct_fields(_offer_of(names, site, row, ask), without=OFFER_FIELDS_LEFT_OUT)
            yield ("offer", *fields, row[k.OFFER_PRIORITY], row[k.OFFER_EXPIRES])
    for site, number, row, _ in named:
        ordinals = tuple(in_flight(columns, row[k.OFFER_FIRST_FILL]))
        yield ("name", site, number, row[k.OFFER_MADE], row[k.OFFER_SEEN], ordinals)


def offer_words(columns: Columns, offer: int) -> list[int]:
    """Return the words of a row of OFFERS, each where its own constant says."""
    words: list[int] = columns[k.OFFERS][offer, : k.OFFER_EXPIRES + 1].tolist()
    words += columns.narrow(k.OFFERS)[offer, len(words) : k.OFFER_ADAPTERS + 1].tolist()
    words += columns.short(k.OFFERS)[offer, len(words) :].tolist()
    return words


def in_flight(columns: Columns, fill: int) -> Iterator[int]:
    """Yield the ordinals of a name's list of fills from a row of it on."""
    fills, links = columns[k.FILLS], columns.narrow(k.FILLS)
    while fill:
        yield int(fills[fill, k.FILL_ORDINAL])
        fill = int(links[fill, k.FILL_NEXT])


def _offer_of(names: Names, site: str, row: list[int], ask: list[int]) -> c.Offer:
    attributes = ask[k.ASK_ATTRIBUTES]
    return c.Offer(
        at=0,
        site=site,
        offer=row[k.OFFER_NUMBER],
        model=names.name("model", ask[k.ASK_MODEL]),
        hardware=lists.HARDWARE[attributes & 255],
        precision=lists.PRECISIONS[attributes >> 8 & 255],
        contract=lists.CONTRACTS[attributes >> 16 & 255],
        ask_in=ask[k.ASK_IN],
        ask_out=ask[k.ASK_OUT],
        ask_second=ask[k.ASK_SECOND],
        slots=row[k.OFFER_SLOTS],
        ttft_us=ask[k.ASK_TTFT],
        prefill_ns_per_token=ask[k.ASK_PREFILL],
        tokens_per_second=ask[k.ASK_SPEED],
        context_limit=ask[k.ASK_CONTEXT],
        cold_start_us=row[k.OFFER_COLD],
        adapters=names.adapter_set(row[k.OFFER_ADAPTERS]),
        adapter_load_us=row[k.OFFER_LOAD],
        capabilities=names_of(attributes >> k.CAPABILITIES_SHIFT & 255, lists.CAPABILITIES),
        deal=names.name("deal", ask[k.ASK_DEAL]),
        ttl_us=1,
    )


def resting_rows(columns: Columns) -> Array:
    """Return the rows of all bids at rest, by arrival: int64[n]."""
    rests = columns[k.RESTS_TABLE][: columns.s[k.REST_ROWS]]
    found = np.nonzero(rests[:, k.REST_UNITS] > 0)[0]
    found = found[found > 0]  # row 0 is the bid that was auctioned last
    return found[np.argsort(rests[found, k.REST_ARRIVAL], kind="stable")]


def _rests(columns: Columns, names: Names) -> Iterator[Row]:
    for rest in resting_rows(columns):
        row = columns[k.RESTS_TABLE][rest].tolist()
        yield (
            "rest", names.name("buyer", row[k.REST_BUYER]), row[k.REST_AGENT], row[k.REST_BID],
            names.name("campaign", row[k.REST_CAMPAIGN]), names.name("metro", row[k.REST_ORIGIN]),
            row[k.REST_ASN], row[k.REST_TOKENS_IN], row[k.REST_TOKENS_OUT],
            names.name("adapter", row[k.REST_ADAPTER]), row[k.REST_LEASE_US], row[k.REST_BUDGET],
            row[k.REST_PRICE], row[k.REST_UNITS], row[k.REST_NEXT_UNIT], row[k.REST_DUE],
        )  # fmt: skip


def open_rows(columns: Columns) -> Array:
    """Return the rows of all fills that have not ended, by number: int64[n]."""
    fills = columns[k.FILLS]
    state = columns.narrow(k.FILLS)[: columns.s[k.FILL_ROWS], k.FILL_STATE]
    found = np.nonzero((state != 0) & (state != k.ENDED))[0]
    return found[np.argsort(fills[found, k.FILL_NUMBER], kind="stable")]


def _fills(columns: Columns, names: Names) -> Iterator[Row]:
    def known(value: int) -> int | None:
        return None if value == k.NOT_YET else value

    for fill in open_rows(columns):
        row, of = columns[k.FILLS][fill].tolist(), columns.narrow(k.FILLS)[fill].tolist()
        site = columns.narrow(k.ASKS)[of[k.FILL_OFFER], k.ASK_SITE]
        number = columns.short(k.OFFERS)[of[k.FILL_OFFER], k.OFFER_NUMBER]
        then = columns[k.FILL_PROGRESS][fill].tolist()
        if of[k.FILL_STATE] == k.LEASED:
            then = [k.NOT_YET] * k.PROGRESS_ROW
        terms = columns[k.TERMS_TABLE][of[k.FILL_TERMS]].tolist()
        yield (
            "open", row[k.FILL_NUMBER], names.name("buyer", of[k.FILL_BUYER]), of[k.FILL_AGENT],
            row[k.FILL_BID], of[k.FILL_UNIT], names.name("operator", of[k.FILL_OPERATOR]),
            names.name("site", int(site)), int(number),
            row[k.FILL_ORDINAL], row[k.FILL_PRICE], _STATES[of[k.FILL_STATE]],
            row[k.FILL_LEASE_UNTIL], known(then[k.PROGRESS_STARTED]),
            known(then[k.PROGRESS_FIRST]), known(then[k.PROGRESS_DISPUTED]),
            known(then[k.PROGRESS_BUYER_FIGURE]), known(then[k.PROGRESS_OPERATOR_FIGURE]),
            row[k.FILL_AT], of[k.FILL_TOKENS_IN], of[k.FILL_TOKENS_OUT], row[k.FILL_CARD_IN],
            row[k.FILL_CARD_OUT], row[k.FILL_CARD_SECOND], terms[k.TERM_TAKE],
            terms[k.TERM_RENT], terms[k.TERM_TOLERANCE], terms[k.TERM_SETTLE],
            terms[k.TERM_DELIVER], terms[k.TERM_DISPUTE],
        )  # fmt: skip
