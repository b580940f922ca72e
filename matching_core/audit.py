"""Money and slots are conserved (MARKET.md §3, §8): recounted from their smallest parts.

Whatever the kernels keep twice, because looking is dearer than keeping, is counted once more here:
holds, slots in flight, lists, bitmaps, heaps. A disagreement is a defect of the core.
"""

import itertools

import numpy as np

from matching_core import columns as k
from matching_core.kernels.campaigns import rule_of
from matching_core.rows import in_flight, open_rows, resting_rows
from schemas import limits, lists


def check_everything(columns: k.Columns) -> None:
    """Assert that all counts and links agree with the rows they stand for."""
    _check_money(columns)
    _check_fills(columns)
    _check_slots(columns)
    _check_offers(columns)
    _check_rests(columns)
    _check_heaps(columns)
    _check_campaigns(columns)
    _check_near(columns)


def _check_money(columns: k.Columns) -> None:
    s = columns.s
    rests = columns[k.RESTS_TABLE][resting_rows(columns)]
    fills = columns[k.FILLS][open_rows(columns)]
    holds = int((rests[:, k.REST_UNITS] * rests[:, k.REST_PRICE]).sum())
    holds += int(fills[:, k.FILL_PRICE].sum())
    available = columns[k.BUYERS][:, k.BUYER_AVAILABLE]
    balances = columns[k.OPERATORS][:, k.OPERATOR_BALANCE]
    assert (available >= 0).all()
    assert (balances >= 0).all()
    kept = int(available.sum()) + holds + int(balances.sum())
    kept += int(s[k.FEES]) + int(s[k.WITHHELD])
    assert kept == s[k.DEPOSITS], (kept, int(s[k.DEPOSITS]))
    assert 0 <= s[k.DEPOSITS] <= limits.DEPOSITS_NUSD_MAX


def _check_fills(columns: k.Columns) -> None:
    s, fills, index = columns.s, columns[k.FILLS], columns[k.FILL_INDEX]
    rows = open_rows(columns)
    assert len(rows) == s[k.OPEN_FILLS]
    numbers = fills[rows, k.FILL_NUMBER]
    assert (index[numbers, k.INDEX_ROW_OF_FILL] == rows).all()
    assert np.count_nonzero(index[: s[k.FILLS_MADE] + 1, k.INDEX_ROW_OF_FILL]) == len(rows)
    assert (index[numbers, k.INDEX_BUYER] == fills[rows, k.FILL_BUYER]).all()
    assert (index[numbers, k.INDEX_OPERATOR] == fills[rows, k.FILL_OPERATOR]).all()
    leased = fills[rows, k.FILL_STATE] == k.LEASED
    assert (fills[rows[leased], k.FILL_LEASE_UNTIL] > s[k.AT]).all()
    assert (columns[k.OFFERS][: s[k.OFFER_ROWS], k.OFFER_MADE].sum()) == s[k.FILLS_MADE]
    used = np.count_nonzero(fills[1 : s[k.FILL_ROWS], k.FILL_STATE])
    assert used + _chain_length(fills, int(s[k.FILL_FREE]), k.FILL_NEXT) == s[k.FILL_ROWS] - 1


def _chain_length(table: np.ndarray, row: int, word: int) -> int:
    length = 0
    while row:
        length += 1
        row = int(table[row, word])
    return length


def _check_slots(columns: k.Columns) -> None:
    offers, fills = columns[k.OFFERS], columns[k.FILLS]
    used = fills[: columns.s[k.FILL_ROWS]]
    state = used[:, k.FILL_STATE]
    for offer in range(1, int(columns.s[k.OFFER_ROWS])):
        row = offers[offer].tolist()
        ordinals = list(in_flight(columns, row[k.OFFER_FIRST_FILL]))
        assert len(ordinals) == row[k.OFFER_IN_FLIGHT]
        assert ordinals == sorted(set(ordinals))
        assert not ordinals or row[k.OFFER_SEEN] < ordinals[0]
        assert not ordinals or ordinals[-1] <= row[k.OFFER_MADE]
        its = (used[:, k.FILL_OFFER] == offer) & (state != 0)
        above = its & (used[:, k.FILL_ORDINAL] > row[k.OFFER_SEEN])
        assert sorted(used[above, k.FILL_ORDINAL].tolist()) == ordinals
        assert (used[its, k.FILL_LISTED] == above[its]).all()
        available = columns[k.ASKS][offer, k.ASK_AVAILABLE]
        assert available == max(0, row[k.OFFER_SLOTS] - len(ordinals))
        assert 0 <= row[k.OFFER_SEEN] <= row[k.OFFER_MADE]


def _check_offers(columns: k.Columns) -> None:
    s, offers, pairs = columns.s, columns[k.OFFERS], columns[k.PAIRS]
    used = offers[: s[k.OFFER_ROWS]]
    standing = np.nonzero(used[:, k.OFFER_STANDING])[0]
    assert len(standing) == s[k.STANDING]
    assert (used[standing, k.OFFER_EXPIRES] > s[k.AT]).all()
    bits = columns[k.MODEL_SITES]
    behind_pairs, behind_sites = [], []
    for model, site in zip(*np.nonzero(pairs), strict=True):
        behind_pairs += _chain(columns[k.CHAIN], int(pairs[model, site]), 0)
        assert int(bits[model, site >> 6]) >> int(site & 63) & 1
    assert sum(int(word).bit_count() for word in bits.flat) == np.count_nonzero(pairs)
    for site in range(1, int(s[k.SITE_COUNT]) + 1):
        first = int(columns[k.SITES][site, k.SITE_FIRST_OFFER])
        behind_sites += _chain(offers, first, k.OFFER_SITE_NEXT)
        halts = columns[k.SITES][site, k.SITE_HALTS]
        operator = columns[k.SITES][site, k.SITE_OPERATOR]
        halts |= columns[k.OPERATORS][operator, k.OPERATOR_HALTS]
        assert (int(columns[k.OPEN_SITES][0, site >> 6]) >> (site & 63) & 1) == (halts == 0)
    assert sorted(behind_pairs) == standing.tolist()
    assert sorted(behind_sites) == standing.tolist()


def _chain(table: np.ndarray, row: int, word: int) -> list[int]:
    found = []
    while row:
        found.append(row)
        row = int(table[row, word])
    return found


def _check_rests(columns: k.Columns) -> None:
    s, rests = columns.s, columns[k.RESTS_TABLE]
    rows = resting_rows(columns)
    assert len(rows) == s[k.RESTS]
    assert rests[rows, k.REST_UNITS].sum() == s[k.RESTING_UNITS]
    assert (rests[rows, k.REST_DUE] > s[k.AT]).all()
    of_buyers = []
    for buyer in range(1, int(s[k.BUYER_COUNT]) + 1):
        row = columns[k.BUYERS][buyer]
        chain = _chain(rests, int(row[k.BUYER_FIRST]), k.REST_NEXT)
        assert len(chain) == row[k.BUYER_RESTS] <= limits.BIDS_AT_REST_MAX
        arrivals = rests[chain, k.REST_ARRIVAL].tolist()
        assert arrivals == sorted(arrivals)
        assert not chain or row[k.BUYER_HALTS] == 0
        of_buyers += chain
    assert sorted(of_buyers) == sorted(rows.tolist())
    campaigns = columns[k.CAMPAIGNS]
    links = sum(int(campaigns[rests[row, k.REST_CAMPAIGN], k.CAMPAIGN_MODEL_COUNT]) for row in rows)
    for model in range(1, int(s[k.MODEL_COUNT]) + 1):
        link = int(columns[k.MODELS][model, k.MODEL_FIRST_REST])
        while link:
            links -= 1
            rest, place = link >> 2, link & 3
            assert rests[rest, k.REST_UNITS] > 0
            assert campaigns[rests[rest, k.REST_CAMPAIGN], k.CAMPAIGN_MODELS + place] == model
            link = int(rests[rest, k.REST_MODEL_NEXT + place])
    assert links == 0
    free = _chain_length(rests, int(s[k.REST_FREE]), k.REST_NEXT)
    assert len(rows) + free == s[k.REST_ROWS] - 1


def _check_heaps(columns: k.Columns) -> None:
    s = columns.s
    fills = columns[k.FILLS]
    states = fills[open_rows(columns), k.FILL_STATE]
    for at, size in (
        (k.OFFER_HEAP, int(s[k.STANDING])),
        (k.REST_HEAP, int(s[k.RESTS])),
        (k.LEASE_HEAP, np.count_nonzero(states == k.LEASED)),
        (k.SETTLE_HEAP, np.count_nonzero(states == k.STARTED)),
        (k.DISPUTE_HEAP, np.count_nonzero(states == k.DISPUTED)),
        (k.CONCERNED_HEAP, 0),
        (k.CANDIDATE_HEAP, 0),
    ):
        assert s[at + 2] == size
        entries = columns[at][: size + 1].tolist()
        rows = columns[int(s[at + 3])]
        for place in range(1, size + 1):
            assert rows[entries[place][2], s[at + 5]] == place
            assert place == 1 or entries[place >> 1][:2] <= entries[place][:2]
            assert entries[place][0] > s[k.AT] or at in {k.SETTLE_HEAP, k.DISPUTE_HEAP}


def _check_near(columns: k.Columns) -> None:
    rtt, near = columns[k.RTT], columns[k.NEAR]
    for metro, site in itertools.product(range(rtt.shape[0]), range(rtt.shape[1])):
        kept = int(rtt[metro, site])
        for band, bound_ms in enumerate(lists.BANDS_MS):
            inside = kept >= 0 and (kept >> 1 <= 1000 * bound_ms or bound_ms == 0)
            bits = int(near[k.BANDS * metro + band, site >> 6])
            assert bits >> (site & 63) & 1 == inside


def _check_campaigns(columns: k.Columns) -> None:
    s, bits = columns.s, columns[k.CAMPAIGN_SITES]
    for campaign in np.nonzero(columns[k.CAMPAIGNS][:, k.CAMPAIGN_STANDING])[0].tolist():
        for site in range(1, int(s[k.SITE_COUNT]) + 1):
            admitted = int(bits[campaign, site >> 6]) >> (site & 63) & 1
            assert admitted == (rule_of(s, campaign, site) == 0)
