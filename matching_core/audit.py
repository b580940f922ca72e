"""Money and slots are conserved (MARKET.md §3, §8): recounted from their smallest parts.

Whatever the kernels keep twice, because looking is dearer than keeping, is counted once more here:
holds, slots in flight, lists, bitmaps, heaps. A disagreement is a defect of the core.
"""

import itertools

import numpy as np

from matching_core import columns as k
from matching_core.kernels.campaigns import rule_of
from matching_core.kernels.entry import find
from matching_core.kernels.hopes import (
    LANE_CONTEXT,
    LANE_KINDS,
    LANE_NARROW,
    LANE_QUICKNESS,
    LANE_SPEED,
    SLOWEST,
    bit_of_peer,
)
from matching_core.kernels.rules import CAPABILITY, COLD
from matching_core.kernels.stages import KNOWN_OF_ALL, KNOWN_OF_FAILING, PASSES
from matching_core.kernels.views import PLACE_BITS
from matching_core.kernels.wheel import IN_HEAP, TICK
from matching_core.kernels.words import (
    CONTRACT_BIT,
    LACKS_BIT,
    NOBODY,
    PRECISION_BIT,
    campaign_fails,
    word_of_offer,
)
from matching_core.rows import in_flight, offer_words, open_rows, resting_rows
from matching_core.tables import Columns
from schemas import limits, lists


def check_everything(columns: Columns) -> None:
    """Assert that all counts and links agree with the rows they stand for."""
    _check_money(columns)
    _check_fills(columns)
    _check_slots(columns)
    _check_offers(columns)
    _check_index(columns)
    _check_stalls(columns)
    _check_views(columns)
    _check_rests(columns)
    _check_heaps(columns)
    _check_waits(columns)
    _check_wheel(columns)
    _check_campaigns(columns)
    _check_near(columns)
    check_hopes(columns)


def _check_money(columns: Columns) -> None:
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


def _check_fills(columns: Columns) -> None:
    s, fills, index = columns.s, columns[k.FILLS], columns[k.FILL_INDEX]
    narrow = columns.narrow(k.FILLS)
    rows = open_rows(columns)
    assert len(rows) == s[k.OPEN_FILLS]
    numbers = fills[rows, k.FILL_NUMBER]
    assert (index[numbers, k.INDEX_ROW_OF_FILL] == rows).all()
    assert np.count_nonzero(index[: s[k.FILLS_MADE] + 1, k.INDEX_ROW_OF_FILL]) == len(rows)
    assert (index[numbers, k.INDEX_BUYER] == narrow[rows, k.FILL_BUYER]).all()
    assert (index[numbers, k.INDEX_OPERATOR] == narrow[rows, k.FILL_OPERATOR]).all()
    leased = narrow[rows, k.FILL_STATE] == k.LEASED
    assert (fills[rows[leased], k.FILL_LEASE_UNTIL] > s[k.AT]).all()
    assert (columns[k.OFFERS][: s[k.OFFER_ROWS], k.OFFER_MADE].sum()) == s[k.FILLS_MADE]
    used = np.count_nonzero(narrow[1 : s[k.FILL_ROWS], k.FILL_STATE])
    assert used + _chain_length(narrow, int(s[k.FILL_FREE]), k.FILL_NEXT) == s[k.FILL_ROWS] - 1


def _chain_length(table: np.ndarray, row: int, word: int) -> int:
    length = 0
    while row:
        length += 1
        row = int(table[row, word])
    return length


def _check_slots(columns: Columns) -> None:
    fills = columns[k.FILLS]
    used = fills[: columns.s[k.FILL_ROWS]]
    narrow = columns.narrow(k.FILLS)[: columns.s[k.FILL_ROWS]]
    state = narrow[:, k.FILL_STATE]
    for offer in range(1, int(columns.s[k.OFFER_ROWS])):
        row = offer_words(columns, offer)
        ordinals = list(in_flight(columns, row[k.OFFER_FIRST_FILL]))
        assert len(ordinals) == row[k.OFFER_IN_FLIGHT]
        assert ordinals == sorted(set(ordinals))
        assert not ordinals or row[k.OFFER_SEEN] < ordinals[0]
        assert not ordinals or ordinals[-1] <= row[k.OFFER_MADE]
        its = (narrow[:, k.FILL_OFFER] == offer) & (state != 0)
        above = its & (used[:, k.FILL_ORDINAL] > row[k.OFFER_SEEN])
        assert sorted(used[above, k.FILL_ORDINAL].tolist()) == ordinals
        assert (narrow[its, k.FILL_LISTED] == above[its]).all()
        available = columns.narrow(k.ASKS)[offer, k.ASK_AVAILABLE]
        assert available == max(0, row[k.OFFER_SLOTS] - len(ordinals))
        assert 0 <= row[k.OFFER_SEEN] <= row[k.OFFER_MADE]


def _check_offers(columns: Columns) -> None:
    s = columns.s
    used = columns[k.OFFERS][: s[k.OFFER_ROWS]]
    standing = _standing(columns)
    assert len(standing) == s[k.STANDING]
    assert (used[standing, k.OFFER_EXPIRES] > s[k.AT]).all()
    behind_sites = []
    for site in range(1, int(s[k.SITE_COUNT]) + 1):
        behind_sites += _standing_at(columns, site)
        halts = columns[k.SITES][site, k.SITE_HALTS]
        operator = columns[k.SITES][site, k.SITE_OPERATOR]
        halts |= columns[k.OPERATORS][operator, k.OPERATOR_HALTS]
        assert _bit(columns[k.OPEN_SITES][0], site) == (halts == 0)
    assert sorted(behind_sites) == standing.tolist()


def _standing(columns: Columns) -> np.ndarray:
    return np.flatnonzero(columns.narrow(k.OFFERS)[: columns.s[k.OFFER_ROWS], k.OFFER_SPOT])


def _standing_at(columns: Columns, site: int) -> list[int]:
    """Return the offers that the leaves of a site say stand; each name has its row there."""
    states, found = columns[k.LEAF_STATES], []
    sites, numbers = columns.narrow(k.ASKS)[:, k.ASK_SITE], columns.short(k.OFFERS)
    for leaf in _chain(states, int(columns[k.SITES][site, k.SITE_FIRST_LEAF]), k.LEAF_NEXT):
        rows = columns[k.LEAVES][leaf]
        found += [
            int(row) for place, row in enumerate(rows) if states[leaf, k.LEAF_STANDING] >> place & 1
        ]
        for place, row in enumerate(rows.tolist()):
            number = int(numbers[row, k.OFFER_NUMBER])
            assert row == 0 or number % k.LEAF_NAMES == place
            assert row == 0 or sites[row] == site
            key = site * k.LEAVES_PER_SITE_KEY + number // k.LEAF_NAMES
            assert row == 0 or find(columns.s, k.NAMES, key) == leaf
    return found


def _bit(bits: np.ndarray, number: int) -> int:
    return int(bits[number >> 6]) >> (number & 63) & 1


def _check_index(columns: Columns) -> None:
    """Every standing offer is on the shelf it says, under bounds that hold for it."""
    s, asks = columns.s, columns[k.ASKS]
    lanes, directory, shelves = columns[k.LANES], columns[k.DIRECTORY], columns[k.SHELVES]
    entries = columns.narrow(k.DIRECTORY)
    found, used = [], 0
    for lane in range(k.LANES_PER_MODEL, k.LANES_PER_MODEL * (int(s[k.MODEL_COUNT]) + 1)):
        first, count, room, numbers, free = lanes[lane, : k.LANE_FREE + 1].tolist()
        assert count <= room
        bounds = np.zeros(k.BOUNDS, np.int64)
        seen = set()
        for entry in range(first, first + count):
            assert (bounds <= entries[entry, : k.BOUNDS]).all()
            bounds = entries[entry, : k.BOUNDS]
            shelf = int(directory[entry, k.ENTRY_SHELF]) & 0xFFFFFFFF
            row = shelves[shelf]
            number = int(directory[entry, k.ENTRY_SHELF]) >> 32
            assert row[k.SHELF_NUMBER] == number < numbers
            assert row[k.SHELF_ENTRY] == entry
            assert row[k.SHELF_LANE] == lane
            assert row[k.SHELF_VERSION] == directory[entry, k.ENTRY_VERSION]
            assert (
                entry == first or directory[entry - 1, k.ENTRY_KEY] <= directory[entry, k.ENTRY_KEY]
            )
            seen.add(number)
            placed = _check_shelf(columns, shelf, bounds)
            assert len(placed) == row[k.SHELF_COUNT] > 0
            found += placed
        assert len(seen) == count
        assert count + _chain_length(shelves, free, k.SHELF_NEXT) == numbers
        used += numbers
    assert used == s[k.SHELF_ROWS] - 1
    assert sorted(found) == _standing(columns).tolist()
    assert np.count_nonzero(columns.narrow(k.ASKS)[found, k.ASK_DEAL]) == s[k.DEALS_STANDING]
    assert not asks[0].any()


def _check_shelf(columns: Columns, shelf: int, bounds: np.ndarray) -> list[int]:
    """Return the offers on a shelf, each checked."""
    s, row = columns.s, columns[k.SHELVES][shelf]
    asks, terms = columns[k.ASKS], columns.narrow(k.ASKS)
    placed = []
    for place, word in enumerate(columns[k.WORDS][shelf].tolist()):
        board = place // k.BOARD
        taken = _bit(row[k.SHELF_TAKEN :].view(np.uint64), place)
        assert taken == (word != NOBODY)
        live = _bit(row[k.SHELF_LIVE :].view(np.uint64), place)
        if not taken:
            assert not live
            continue
        offer = int(columns[k.SHELF_OFFERS][shelf, place])
        site = int(columns[k.SHELF_SITES][shelf, place])
        placed.append(offer)
        assert word == word_of_offer(s, offer)
        assert live == (terms[offer, k.ASK_AVAILABLE] > 0)
        assert columns.narrow(k.OFFERS)[offer, k.OFFER_SPOT] == k.SHELF_PLACES * shelf + place
        assert site == terms[offer, k.ASK_SITE]
        model = row[k.SHELF_LANE] // k.LANES_PER_MODEL
        assert model == terms[offer, k.ASK_MODEL]
        assert (terms[offer, k.ASK_DEAL] != 0) == row[k.SHELF_LANE] % k.LANES_PER_MODEL
        a, b = int(asks[offer, k.ASK_IN]), int(asks[offer, k.ASK_OUT])
        least = np.array((a, 4 * a + b, a + b, a + 4 * b, b, int(asks[offer, k.ASK_SECOND])))
        at = k.SHELF_BOARDS + k.BOARD_WORDS * board
        assert (bounds <= least).all()
        assert (row[at : at + k.BOUNDS] <= least).all()
        group = columns[k.SITES][site, k.SITE_GROUP]
        assert row[at + k.BOARD_GROUP] in {-1, group}
    return placed


def _check_stalls(columns: Columns) -> None:
    """Every standing offer is in the stall of its model and site, once, as what it is."""
    s, stalls, terms = columns.s, columns[k.STALLS], columns.narrow(k.ASKS)
    used, found = 0, []
    for model, site in np.argwhere(columns[k.STALL_OF]).tolist():
        line = int(columns[k.STALL_OF][model, site])
        count, lines = stalls[line, : k.STALL_HEAD].tolist()
        offers = stalls[line : line + lines].ravel()[k.STALL_HEAD :][: k.STALL_OFFER * count]
        assert offers.size == k.STALL_OFFER * count > 0
        for offer, attributes in offers.reshape(-1, k.STALL_OFFER).tolist():
            mine = terms[offer, [k.ASK_MODEL, k.ASK_SITE, k.ASK_ATTRIBUTES]].tolist()
            assert mine == [model, site, attributes]
            found.append(offer)
        used += lines
    assert sorted(found) == _standing(columns).tolist()
    for power, line in enumerate(columns[k.FREE_STALLS][:, 0].tolist()):
        used += _chain_length(stalls, line, 0) << power
    assert used == s[k.STALL_LINES] - 1
    offering = np.unpackbits(columns[k.MODEL_SITES].view(np.uint8), axis=1, bitorder="little")
    assert (offering == (columns[k.STALL_OF] != 0)).all()


def _listed(view: np.ndarray) -> dict[int, int]:
    """Return the sites by place of a view that is a list, nothing of one that is not."""
    if not view[k.VIEW_VERSION] & 1:
        return {}
    items = view.view(np.int32)[: k.VIEW_LIST].tolist()
    assert 0 not in items[: sum(map(bool, items))]
    return {item & ((1 << PLACE_BITS) - 1): item >> PLACE_BITS for item in items if item}


def _check_views(columns: Columns) -> None:
    """A view knows of every offer that is not fresh whether its campaign admits it."""
    s, ranges, shelves = columns.s, columns[k.VIEW_RANGES], columns[k.SHELVES]
    campaigns = columns[k.CAMPAIGNS]
    for campaign in np.nonzero(campaigns[:, k.CAMPAIGN_STANDING])[0].tolist():
        fails = campaign_fails(s, campaign)
        for number, kind in itertools.product(
            range(int(campaigns[campaign, k.CAMPAIGN_MODEL_COUNT])), range(k.LANES_PER_MODEL)
        ):
            model = int(campaigns[campaign, k.CAMPAIGN_MODELS + number])
            at = 2 * (k.LANES_PER_MODEL * number + kind)
            first, room = ranges[campaign, at : at + 2].tolist()
            lane = columns[k.LANES][k.LANES_PER_MODEL * model + kind]
            entries = columns[k.DIRECTORY][lane[k.LANE_FIRST] :][: lane[k.LANE_COUNT]]
            for shelf in (entries[:, k.ENTRY_SHELF] & 0xFFFFFFFF).tolist():
                row = shelves[shelf]
                if row[k.SHELF_NUMBER] >= room:
                    continue
                view = columns[k.VIEWS][first + row[k.SHELF_NUMBER]]
                if int(view[k.VIEW_VERSION]) >> 1 != row[k.SHELF_VERSION] >> 1:
                    continue
                listed = _listed(view)
                words, sites = columns[k.WORDS][shelf], columns[k.SHELF_SITES][shelf]
                admits = (words & fails) == 0
                admits &= columns[k.SITE_RULES][campaign][sites] == 0
                fresh = row[k.SHELF_FRESH :].view(np.uint64)
                for place, word in enumerate(words.tolist()):
                    if word != NOBODY and not _bit(fresh, place):
                        by_view = place in listed if view[k.VIEW_VERSION] & 1 else _bit(view, place)
                        assert by_view == admits[place]
                        assert listed.get(place, sites[place]) == sites[place]


def _chain(table: np.ndarray, row: int, word: int) -> list[int]:
    found = []
    while row:
        found.append(row)
        row = int(table[row, word])
    return found


def _check_rests(columns: Columns) -> None:
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


def _check_heaps(columns: Columns) -> None:
    s = columns.s
    sizes = {
        k.OFFER_HEAP: np.count_nonzero(columns.short(k.OFFERS)[:, k.OFFER_QUEUED] == IN_HEAP),
        k.REST_HEAP: int(s[k.RESTS]),
        k.CONCERNED_HEAP: 0,
        k.CANDIDATE_HEAP: 0,
    }
    for at in (*sizes, *k.HEAP_OF_WAIT.values()):
        size = int(s[at + 2])
        assert size == sizes.get(at, size)
        entries = columns[at][: size + 1].tolist()
        rows = columns[int(s[at + 3])]
        for place in range(1, size + 1):
            assert rows[entries[place][2], s[at + 5]] == place
            assert place == 1 or entries[place >> 1][:2] <= entries[place][:2]
            assert entries[place][0] > s[k.AT] or at in {k.SETTLE_HEAP, k.DISPUTE_HEAP}


def _check_waits(columns: Columns) -> None:
    s, waits, links = columns.s, columns[k.FILL_WAITS], columns.narrow(k.FILL_WAITS)
    fills, opened = columns[k.FILLS], open_rows(columns)
    states = columns.narrow(k.FILLS)[opened, k.FILL_STATE]
    for at, state in (
        (k.LEASE_WAIT, k.LEASED), (k.SETTLE_WAIT, k.STARTED), (k.DISPUTE_WAIT, k.DISPUTED),
    ):  # fmt: skip
        heap_at = k.HEAP_OF_WAIT[at]
        entries = columns[heap_at][1 : int(s[heap_at + 2]) + 1].tolist()
        found = [row for _, _, row in entries]
        assert all(waits[row, :2].tolist() == [due, number] for due, number, row in entries)
        for number, run in enumerate(k.runs(at), start=1):
            its = []
            row, before = int(s[run + k.RUN_FIRST]), 0
            while row:
                assert waits[row, k.WAIT_PLACE] == -number
                assert links[row, k.WAIT_EARLIER] == before
                its.append(row)
                row, before = int(links[row, k.WAIT_LATER]), row
            assert s[run + k.RUN_LAST] == before
            order = [tuple(waits[row, :2].tolist()) for row in its]
            assert order == sorted(order)
            if its:
                assert (s[run + k.RUN_FIRST_DUE], s[run + k.RUN_LAST_DUE]) == (
                    order[0][0], order[-1][0],
                )  # fmt: skip
            found += its
        assert sorted(found) == sorted(opened[states == state].tolist())
        assert (waits[found, k.WAIT_NUMBER] == fills[found, k.FILL_NUMBER]).all()
        assert (waits[found, k.WAIT_DUE] >= s[at + k.WAIT_NEXT_DUE]).all()


def _check_wheel(columns: Columns) -> None:
    """Every offer that stands is queued no later than it expires, in the one place that it says."""
    s, links = columns.s, columns.narrow(k.OFFER_PLACES)
    offers = columns[k.OFFERS][: s[k.OFFER_ROWS]]
    queued = columns.short(k.OFFERS)[: s[k.OFFER_ROWS], k.OFFER_QUEUED]
    stands = columns.narrow(k.OFFERS)[: s[k.OFFER_ROWS], k.OFFER_SPOT] != 0
    hand = int(s[k.WHEEL_HAND])
    found = 0
    for slot, (first, count) in enumerate(columns[k.WHEEL].tolist()):
        before, row, size = 0, first, 0
        tick = hand + (slot - hand) % k.WHEEL_LISTS
        while row:
            assert queued[row] == slot + 1
            assert links[row].tolist()[1] == before
            assert not stands[row] or offers[row, k.OFFER_EXPIRES] >> TICK >= tick
            before, row, size = row, int(links[row, 0]), size + 1
        assert size == count
        found += size
    assert found + s[k.OFFER_HEAP + 2] == np.count_nonzero(queued)
    assert (queued[stands] != 0).all()
    for due, priority, row in columns[k.OFFER_HEAP][1 : s[k.OFFER_HEAP + 2] + 1].tolist():
        kept = offers[row]
        assert not stands[row] or (due, priority) <= (
            kept[k.OFFER_EXPIRES], kept[k.OFFER_PRIORITY],
        )  # fmt: skip


def _check_near(columns: Columns) -> None:
    rtt, near = columns[k.RTT], columns[k.NEAR]
    for metro, site in itertools.product(
        range(1, int(columns.s[k.METRO_COUNT]) + 1), range(1, int(columns.s[k.SITE_COUNT]) + 1)
    ):
        kept = int(rtt[metro, site])
        for band, bound_ms in enumerate(lists.BANDS_MS):
            inside = kept >= 0 and (kept >> 1 <= 1000 * bound_ms or bound_ms == 0)
            assert _bit(near[k.BANDS * metro + band], site) == inside


def _check_campaigns(columns: Columns) -> None:
    s, rules = columns.s, columns[k.SITE_RULES]
    for campaign in np.nonzero(columns[k.CAMPAIGNS][:, k.CAMPAIGN_STANDING])[0].tolist():
        for site in range(1, int(s[k.SITE_COUNT]) + 1):
            assert rules[campaign, site] == rule_of(s, campaign, site)
            admitted = _bit(columns[k.CAMPAIGN_SITES][campaign], site)
            assert admitted == (rules[campaign, site] == 0)


def check_hopes(columns: Columns) -> None:
    """Assert that no bound by which a bid is given up, or its reason known, is too low."""
    _check_lanes(columns)
    _check_stages(columns)


def _check_lanes(columns: Columns) -> None:
    """What is said of a lane holds for its offers, and every network that a site peers with has its bit."""
    s, terms = columns.s, columns.narrow(k.ASKS)
    lanes = columns[k.LANES].view(np.int32).reshape(-1, LANE_NARROW)
    for offer in _standing(columns).tolist():
        line = terms[offer]
        lane = lanes[k.LANES_PER_MODEL * line[k.ASK_MODEL] + (line[k.ASK_DEAL] != 0)]
        assert lane[LANE_SPEED] >= line[k.ASK_SPEED]
        assert lane[LANE_CONTEXT] >= line[k.ASK_CONTEXT]
        assert lane[LANE_QUICKNESS] >= SLOWEST - line[k.ASK_TTFT]
        kinds = int(lane.view(np.uint64)[LANE_KINDS])
        for bit, value in zip(
            (0, PRECISION_BIT, CONTRACT_BIT),
            int(line[k.ASK_ATTRIBUTES]).to_bytes(4, "little", signed=True),
            strict=False,
        ):
            assert kinds >> bit + value & 1
        has = int(line[k.ASK_ATTRIBUTES]) >> k.CAPABILITIES_SHIFT & 255
        assert kinds >> LACKS_BIT & has == has
    bits = columns[k.NEAR][: k.BANDS].reshape(-1)
    for row in columns[k.SITES][1 : s[k.SITE_COUNT] + 1]:
        for asn in columns[k.ASNS][row[k.SITE_ASN_FIRST] :][: row[k.SITE_ASN_COUNT], 0]:
            assert _bit(bits, bit_of_peer(s, asn))


def _check_stages(columns: Columns) -> None:
    """What a campaign says of how far offers come holds for all that were there when it was found out."""
    campaigns, shelves = columns[k.CAMPAIGNS], columns[k.SHELVES]
    spots = columns.narrow(k.OFFERS)[:, k.OFFER_SPOT]
    for campaign, known_at in itertools.product(
        np.flatnonzero(campaigns[:, k.CAMPAIGN_STANDING]).tolist(), (KNOWN_OF_ALL, KNOWN_OF_FAILING)
    ):
        row = campaigns[campaign]
        version, most = divmod(int(row[known_at]), 32)
        models = row[k.CAMPAIGN_MODELS :][: row[k.CAMPAIGN_MODEL_COUNT]]
        for offer in _standing(columns).tolist() if version else ():
            shelf, place = divmod(int(spots[offer]), k.SHELF_PLACES)
            fresh = _bit(shelves[shelf, k.SHELF_FRESH :].view(np.uint64), place)
            is_later = shelves[shelf, k.SHELF_VERSION] >> 1 > version
            if columns.narrow(k.ASKS)[offer, k.ASK_MODEL] in models and not fresh and not is_later:
                stage = _stage(columns, campaign, offer)
                assert stage <= most or (stage == PASSES and known_at == KNOWN_OF_FAILING)


def _stage(columns: Columns, campaign: int, offer: int) -> int:
    """Return the first of rules 3 to 15 that an offer fails, slots and adapters left out; or PASSES."""
    terms, row = columns.narrow(k.ASKS)[offer], columns[k.CAMPAIGNS][campaign]
    if columns.narrow(k.OFFERS)[offer, k.OFFER_COLD] > 0 and not row[k.CAMPAIGN_COLD]:
        return COLD
    by_site = int(columns[k.SITE_RULES][campaign, terms[k.ASK_SITE]])
    if by_site:
        return by_site
    attributes = int(terms[k.ASK_ATTRIBUTES])
    wanted = int(row[k.CAMPAIGN_CAPABILITIES])
    if attributes >> k.CAPABILITIES_SHIFT & wanted != wanted:
        return CAPABILITY
    for number, word in enumerate(
        (k.CAMPAIGN_HARDWARE, k.CAMPAIGN_PRECISIONS, k.CAMPAIGN_CONTRACTS)
    ):
        if row[word] and not int(row[word]) >> (attributes >> 8 * number & 255) & 1:
            return CAPABILITY + 1 + number
    return PASSES
