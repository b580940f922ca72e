"""Promises about the market's memory: room is made before it is needed, and changes nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from exchange.memory import MORE, keep_freed, make_ready, use_small_pages
from matching_core import columns as k
from matching_core.market import Capacity, Market
from tests.market.generator import commands

TABLES = (k.FILLS, k.FILL_WAITS, k.FILL_INDEX, k.EVENTS, k.OFFERS, k.ASKS)


def test_a_market_with_room_says_and_is_the_same():
    plain, roomy = Market(), Market()
    make_ready(roomy, Capacity(offers=3_000, fills=9_000, rests=500))
    for number, command in enumerate(commands(5, 400)):
        assert roomy.apply_command(command) == plain.apply_command(command)
        if number % 100 == 50:
            make_ready(roomy, Capacity(offers=3_000, fills=9_000, rests=500))
    assert roomy.digest() == plain.digest()
    restored = Market.restore(roomy.snapshot())
    make_ready(restored, MORE)
    assert restored.digest() == plain.digest()


def test_with_room_tables_stay_where_they_are_and_beyond_it_too():
    market = Market()
    make_ready(market, MORE)
    begin = {at: market.columns[at].ctypes.data for at in TABLES}
    rows = {at: len(market.columns[at]) for at in TABLES}
    assert rows[k.FILLS] >= MORE.fills
    market.columns[k.FILLS][-1] = 7
    for times in (2, 4, 8):
        make_ready(market, MORE._replace(offers=0, fills=MORE.fills * times))
    assert {at: market.columns[at].ctypes.data for at in TABLES} == begin
    assert len(market.columns[k.FILLS]) >= 8 * MORE.fills
    assert market.columns[k.FILLS][rows[k.FILLS] - 1, 0] == 7
    assert not market.columns[k.FILLS][rows[k.FILLS] :].any()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux what it was told")
def test_fills_take_small_pages_and_offers_are_left_alone():
    market = Market()
    make_ready(market, MORE)
    flags = {
        at: flags_of(market.columns[at].ctypes.data + market.columns[at].nbytes // 2)
        for at in (k.FILLS, k.FILL_INDEX, k.OFFERS)
    }
    if not any("nh" in each for each in flags.values()):
        pytest.skip("a system without large pages")
    assert "nh" in flags[k.FILLS]
    assert "nh" in flags[k.FILL_INDEX]
    assert "nh" not in flags[k.OFFERS]


def test_advice_about_next_to_nothing_is_left_out():
    assert not use_small_pages(np.zeros(8, np.uint8))
    if sys.platform.startswith("linux"):
        assert keep_freed()


def flags_of(address):
    """Return the kernel's flags of the mapping that an address lies in."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first = line.split(" ", 1)[0]
        if "-" in first and ":" not in first:
            begin, end = (int(part, 16) for part in first.split("-"))
            inside = begin <= address < end
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    return []


def test_a_snapshot_has_what_is_used_and_not_the_room_beside_it():
    """Goal: room for a quarter of a million fills is not copied, hashed and synced while bids wait."""
    small, roomy = Market(), Market()
    make_ready(roomy, MORE)
    sizes = [
        sum(table.nbytes for table in market.columns.snapshot().values())
        for market in (small, roomy)
    ]
    assert sizes[1] < 2 * sizes[0]
