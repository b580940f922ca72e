"""Who sees what: the whole table, and that no view depends on an ask but through a fill."""

import numpy as np
import pytest

from exchange.follower import redaction
from exchange.follower.core import Folders, Follower
from exchange.follower.event_files import Batch
from exchange.follower.feeds import PublicBook, tape
from exchange.follower.member_files import HEAD_BYTES
from exchange.follower.redaction import ROLES, VIEWS, copies
from matching_core.event_rows import CONTESTED_BIT, EVENT_ROW
from schemas.records import EVENT_RECORD, EVENT_TYPES
from schemas.token import TokenChecker, TokenMaker, site_key
from tests.follower.living import BUYERS, OPERATORS, SECOND, Living

SECRET = bytes(range(32))
TOKENS = TokenMaker(SECRET, 9)
FIELDS = set(EVENT_RECORD.names or ())
BUYER_ONLY = {"rival_score", "token", "bid", "agent", "unit", "campaign", "quantity", "paid",
              "refund", "withheld"}  # fmt: skip
OPERATOR_ONLY = {"fee", "earned"}


def row(kind, contested=True):
    """A row in which every column has a value of its own, so that nothing hides as a zero."""
    made = np.zeros(1, EVENT_ROW)
    for place, name in enumerate(EVENT_ROW.names or (), start=1):
        made[name] = 10 + place
    made["type"] = EVENT_TYPES.index(kind)
    made["lease_until"] = 3 * SECOND
    made["attributes"] = 0x00F1_0203_0405_0607 & ~(1 << CONTESTED_BIT) | contested << CONTESTED_BIT
    return made


@pytest.mark.parametrize("kind", EVENT_TYPES[1:])
@pytest.mark.parametrize("role", ROLES)
def test_a_copy_carries_what_the_table_names_and_nothing_else(kind, role):
    """The whole table: every type, every role, every field."""
    made = copies(row(kind), role, TOKENS)
    fields = VIEWS.get((kind, role))
    if fields is None:
        assert len(made.member) == 0
        return
    assert made.member.tolist() == row(kind)[role].tolist()
    told = {name for name in FIELDS if np.any(made.records[name] != 0)}
    packed = {"hardware", "precision", "contract", "tier", "contested", "cold", "resting"}
    assert told <= {*redaction.ALWAYS, *fields}
    # What is packed may be 0 by itself; all the rest must show.
    assert told >= {*redaction.ALWAYS, *fields} - packed


def test_the_table_keeps_from_each_side_what_is_the_others():
    """The rules of MARKET.md §8 said a second time, without the table's words."""
    assert {kind for kind, _ in VIEWS} == set(EVENT_TYPES) - {"none"}
    for (kind, role), fields in VIEWS.items():
        assert set(fields) <= FIELDS
        if kind == "rejected":
            continue
        hidden = BUYER_ONLY if role == "operator" else OPERATOR_ONLY
        assert not set(fields) & hidden, (kind, role)
    both = {"releasing", "released", "declined", "disputed", "settled", "fill"}
    assert {kind for kind, role in VIEWS if role == "operator"} == both | {
        "rejected", "offer_expired"
    }  # fmt: skip
    assert {kind for kind, role in VIEWS if role == "buyer"} == both | {
        "rejected", "resting", "unfilled"
    }  # fmt: skip
    assert not FIELDS & {"cost", "score", "value"}


def test_the_rivals_score_is_told_only_when_it_set_the_price():
    assert copies(row("fill", contested=True), "buyer", TOKENS).records["rival_score"] != 0
    assert copies(row("fill", contested=False), "buyer", TOKENS).records["rival_score"] == 0


def test_each_side_learns_its_own_figure():
    disputed = row("disputed")
    buyer, operator = (copies(disputed, role, TOKENS).records["figure"] for role in ROLES)
    assert (buyer, operator) == (disputed["cost"], disputed["score"])


def test_the_buyers_token_is_the_one_that_the_site_admits():
    fill = row("fill")
    fill["lease_until"] = 10 * SECOND
    token = copies(fill, "buyer", TOKENS).records["token"][0].tobytes()
    site = int(fill["site"][0])
    found = TokenChecker({1: site_key(SECRET, 9, site)}, 9, site).check(token, 7 * SECOND)
    assert found.fill == fill["fill"][0]
    assert found.deadline_ns == 8 * SECOND


# ----------------------------------------------------------------------------- A6
def play(folder, asks, card):
    """Three offers at the given asks, bids of all ceilings, everything else the same."""
    market = Living(folder)
    market.open(card)
    for name, ask in zip(OPERATORS, asks, strict=True):
        market.offer(f"{name}/1", 1, ask, slots=9)
    for buyer in BUYERS:
        for ceiling in (3, 6, 9):
            market.bid(buyer, ceiling)
    market.now_ns += 90 * SECOND
    market.bid(BUYERS[0], 0)
    return market


def views(market, folder):
    """Every member's file, the tape, the book: all that anybody is sent."""
    seen: list[Batch] = []
    folders = Folders(market.config.journal_folder, folder / "events", folder / "snapshots")
    follower = Follower(folders, market.keys.market, TOKENS, seen.append)
    book, said = PublicBook(), []
    while follower.round(market.writer.durable, 0):
        changes = book.changes(
            follower.market.book(), follower.market.rtt_us(), follower.market.margins_us(), 0
        )
        said.append(changes.tobytes())
    rows = np.concatenate([batch.events for batch in seen])
    follower.close()
    # The head of a file names the data folder's market, a random number.
    files = {p.name: p.read_bytes()[HEAD_BYTES:] for p in (folder / "events/members").iterdir()}
    return files | {"tape": tape(rows)[1].tobytes(), "book": b"".join(said)}, rows


@pytest.mark.parametrize(
    "asks, changed, card, logged",
    [
        # The dearest of three groups decides nothing: not even its own operator sees a difference.
        ((2, 4, 8), (2, 4, 9), 20, False),
        # The rival's ask, where the card is below and sets every price: nobody sees it.
        ((2, 5, 12), (2, 6, 12), 3, True),
        # The winner's own ask, with a rival and below the card: its own price stays too (§10).
        ((2, 4, 8), (3, 4, 8), 20, True),
    ],
)
def test_no_view_depends_on_an_ask_except_through_a_fill(tmp_path, asks, changed, card, logged):
    """Promise A6: run twice with one ask changed; where all fills stay, all views are byte-identical."""
    a, rows_a = views(play(tmp_path / "1", asks, card), tmp_path / "seen 1")
    b, rows_b = views(play(tmp_path / "2", changed, card), tmp_path / "seen 2")
    fills = rows_a[rows_a["type"] == 1]
    assert len(fills) > 3
    assert fills["price"].tolist() == rows_b[rows_b["type"] == 1]["price"].tolist()
    assert (rows_a.tobytes() != rows_b.tobytes()) == logged  # what the exchange itself knows
    assert a == b
