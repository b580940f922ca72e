"""Capacity arrives and resting bids compete for it (MARKET.md §6b); and the commands that bring it.

Candidates go into a heap by (score, arrival). The best units win; then the heap is read on for the
best losing unit, and the best losing unit of another buyer group than that one's: the rival of a
winner is the first of the two whose group is not the winner's.
"""

from matching_core import columns as c
from matching_core.jit import Array, byte_table, i64, inner, small_table, table
from matching_core.kernels.book import (
    link_offer,
    note_seen,
    offer_live,
    set_available,
    unlink_offer,
)
from matching_core.kernels.heap import heap_clear, heap_push, heap_remove
from matching_core.kernels.hopes import note_offer
from matching_core.kernels.lifecycle import make_fill
from matching_core.kernels.names import first_of_site, next_of_site, offer_at
from matching_core.kernels.rests import remove_rest
from matching_core.kernels.rules import card_of, judge, markdown_of, site_peers
from matching_core.kernels.wheel import expire_at


@inner
def judge_rest(s: Array, rest: int, offer: int) -> tuple[int, int, int, int, bool]:
    """Judge a resting bid for a live offer, as `rules.judge` does."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    campaign = rests[rest, c.REST_CAMPAIGN]
    site = i64(terms[offer, c.ASK_SITE])
    path_us = i64(small_table(s, c.RTT, s[c.SITE_CAPACITY])[rests[rest, c.REST_ORIGIN], site])
    if path_us >= 0:
        path_us = (path_us >> 1) + table(s, c.SITES, c.SITE_ROW)[site, c.SITE_MARGIN]
    failed = i64(byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])[campaign, site])
    peers = campaigns[campaign, c.CAMPAIGN_PEERING] == 0 or site_peers(
        s, site, rests[rest, c.REST_ASN]
    )
    markdown = markdown_of(s, campaign, i64(terms[offer, c.ASK_MODEL]))
    return judge(s, rest, offer, markdown, failed, False, peers, path_us)


@inner
def collect_candidates(s: Array, offer: int) -> None:
    """Put every resting bid that is eligible for an offer into the heap of candidates."""
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    model = i64(terms[offer, c.ASK_MODEL])
    is_open = terms[offer, c.ASK_DEAL] == 0
    link = table(s, c.MODELS, c.MODEL_ROW)[model, c.MODEL_FIRST_REST]
    while link != 0:
        rest = link >> 2
        link = rests[rest, c.REST_MODEL_NEXT + (link & 3)]
        rule, score, _, cost, _ = judge_rest(s, rest, offer)
        if rule == 0 and (not is_open or cost <= card_of(s, rest, model)):
            heap_push(s, c.CANDIDATE_HEAP, -score, rests[rest, c.REST_ARRIVAL], rest)


@inner
def sell_capacity(s: Array, offer: int) -> None:
    """Auction what an offer has available among the bids at rest (6b)."""
    terms = small_table(s, c.ASKS, c.ASK_NARROW)
    free = i64(terms[offer, c.ASK_AVAILABLE])
    if free < 1 or s[c.RESTS] == 0:
        return
    model = i64(terms[offer, c.ASK_MODEL])
    if table(s, c.MODELS, c.MODEL_ROW)[model, c.MODEL_FIRST_REST] == 0 or not offer_live(s, offer):
        return
    s[c.AUCTIONS] += 1
    collect_candidates(s, offer)
    rests = table(s, c.RESTS_TABLE, c.REST_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    winners = table(s, c.WINNERS, c.WINNER_ROW)
    heap = table(s, c.CANDIDATE_HEAP, c.HEAP_WORDS)
    count = 0
    # The best losing unit, and the best whose group is another than that one's.
    first_group, first_score, second_group, second_score = 0, 0, 0, 0
    while s[c.CANDIDATE_HEAP + 2] > 0 and second_group == 0:
        rest = heap[1, 2]
        score = -heap[1, 0]
        heap_remove(s, c.CANDIDATE_HEAP, 1)
        units = rests[rest, c.REST_UNITS]
        taken = min(free, units)
        if taken > 0:
            winners[count, 0] = rest
            winners[count, 1] = taken
            count += 1
            free -= taken
        if taken < units:
            group = buyers[rests[rest, c.REST_BUYER], c.BUYER_GROUP]
            if first_group == 0:
                first_group, first_score = group, score
            elif group != first_group:
                second_group, second_score = group, score
    heap_clear(s, c.CANDIDATE_HEAP)

    is_open = terms[offer, c.ASK_DEAL] == 0
    for place in range(count):
        rest = winners[place, 0]
        group = buyers[rests[rest, c.REST_BUYER], c.BUYER_GROUP]
        has_rival, rival_score = first_group != 0, first_score
        if first_group == group:
            has_rival, rival_score = second_group != 0, second_score
        has_rival = has_rival and is_open
        _, score, latency_us, cost, cold = judge_rest(s, rest, offer)
        price, contested = cost, False
        if is_open:
            price = max(cost, min(score + cost, card_of(s, rest, model)))
            if has_rival and cost + rival_score > price:
                price, contested = cost + rival_score, True
        for _ in range(winners[place, 1]):
            make_fill(
                s, rest, offer, price, cost, score, latency_us,
                cold, contested, has_rival, rival_score, True,
            )  # fmt: skip
        if rests[rest, c.REST_UNITS] == 0:
            remove_rest(s, rest)


@inner
def concern(s: Array, offer: int) -> None:
    """Note that a released fill concerns an offer."""
    priority = table(s, c.OFFERS, c.OFFER_ROW)[offer, c.OFFER_PRIORITY]
    heap_push(s, c.CONCERNED_HEAP, priority, offer, s[c.CONCERNED_HEAP + 2] + 1)


@inner
def sell_concerned(s: Array) -> None:
    """Run 6b once for each offer that released fills concern, by priority number."""
    heap = table(s, c.CONCERNED_HEAP, c.HEAP_WORDS)
    last = 0
    while s[c.CONCERNED_HEAP + 2] > 0:
        offer = heap[1, 1]
        heap_remove(s, c.CONCERNED_HEAP, 1)
        if offer != last:  # one that several fills concern is there as often, one after the other
            sell_capacity(s, offer)
        last = offer


@inner
def place_offer(s: Array, offer: int, fills_seen: int, ttl_us: int) -> None:
    """Let an offer whose columns were just written stand, with this command's priority; then 6b."""
    note_seen(s, offer, fills_seen)
    set_available(s, offer)
    table(s, c.OFFERS, c.OFFER_ROW)[offer, c.OFFER_PRIORITY] = s[c.SEQ]
    note_offer(s, offer)
    link_offer(s, offer)
    expire_at(s, offer, ttl_us)
    sell_capacity(s, offer)


@inner
def cancel_offers(s: Array, site: int) -> None:
    """Let no offer of a site stand."""
    at = first_of_site(s, site)
    while at != 0:
        unlink_offer(s, offer_at(s, at))
        at = next_of_site(s, at)


@inner
def renew_offers(s: Array, site: int, ttl_us: int) -> None:
    """Let every offer of a site expire `ttl_us` from now."""
    at = first_of_site(s, site)
    while at != 0:
        expire_at(s, offer_at(s, at), ttl_us)
        at = next_of_site(s, at)
