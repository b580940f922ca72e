"""One well-formed frame of every kind that either side may send: seeds for tests and fuzzing."""

import msgspec
import numpy as np

from schemas import frames, records
from schemas.commands import Halt
from schemas.explanation import Change, ConstraintPrice, Explanation
from schemas.session import messages as m

KEY = "0" * 40


def filled(dtype, count, seed=1):
    """Return records of random bytes, with quantities that fit a frame and no fills told of."""
    random = np.random.default_rng(seed)
    array = random.integers(0, 256, (count, dtype.itemsize), np.uint8).view(dtype)[:, 0].copy()
    if "quantity" in dtype.names and "bid" in dtype.names:
        array["quantity"] = 1
    if dtype == records.STATUS_RECORD:
        array["fills"] = 0
    return array


def answer(first, fills_per_record):
    """Return a STATUS frame with its fills."""
    statuses = filled(records.STATUS_RECORD, len(fills_per_record))
    statuses["fills"] = fills_per_record
    return frames.encode_answer(first, statuses, filled(records.FILL_RECORD, sum(fills_per_record)))


EXPLANATION = Explanation(
    buyer="acme", agent=0, bid=7, campaign="chat", quantity=2, tokens=1200, prices=(12,),
    constraints=(ConstraintPrice(constraint="residency", nusd=(2,), pusd_per_token=(2,)),),
    changes=(
        Change(constraint="hardware", price=20, pusd_per_token=17, size=10**6, entries=("l4",)),
    ),
    reason="hardware", rounded=True,
)  # fmt: skip
CLIENT_MESSAGES: list[tuple[m.Message, int]] = [
    (m.Establish(version_min=1, version_max=1, epoch=3, streams=("acme/one",), software="x"), 0),
    (m.Heartbeat(), 0),
    (m.Terminate(), 0),
    (frames.encode_order(Halt(at=0, scope="exchange", by="admin")), 4),
    (m.RegisterAdapters(adapters=("acme/a", "acme/b")), 5),
    (m.Lookup(request=1, kind="site", names=("acme/one",), handles=(1, 2)), 0),
    (m.Query(request=2, bid=7), 0),
    (m.MemberAdd(member="acme", role="operator", agent=1, public_key=KEY, sites=("acme/one",)), 6),
    (m.MemberRevoke(member="acme", public_key=KEY), 7),
    (m.SiteKey(request=3, site="acme/one"), 0),
    (m.Subscribe(after=5, credit=100), 0),
    (m.Received(upto=6), 0),
    (m.Explain(request=4, bid=7), 0),
]
SERVER_MESSAGES: list[tuple[m.Message, int]] = [
    (
        m.Established(
            request=1, version=1, epoch=1, resumed=False, market=9, member="acme", member_handle=1,
            role="operator", agent=0, last_message=0, last_bid=0, cancel_after_us=3_000_000,
            sites=(m.SiteState(site="acme/one", handle=1, offers=((1, 5, (3, 4)),)),),
        ),
        0,
    ),
    (m.Heartbeat(), 0),
    (m.OrderAnswer(code=0, seq=5, handle=2), 3),
    (m.Found(request=1, entries=(m.Entry(handle=1, name="m", detail=msgspec.Raw(b"\x80")),)), 0),
    (m.Outcome(request=2, known=True, fills=(1, 2), state="leased"), 0),
    (m.SiteKeyAnswer(request=3, key_id=1, key=bytes(32), site_handle=1, market=9), 0),
    (m.Refused(code=110, why="gap", expected=4), 9),
    (m.Terminated(code=116, why="over"), 0),
    (m.Subscribed(last=9, kept_from=1, market=9), 0),
    (m.Explained(request=4, explanation=EXPLANATION), 0),
]  # fmt: skip

CLIENT_FRAMES = [
    *(
        frames.encode_records(kind, filled(dtype, count), 7)
        for kind, dtype in records.COMMAND_RECORDS.items()
        for count in (1, 3)
    ),
    *(frames.encode_message(message, first) for message, first in CLIENT_MESSAGES),
]
SERVER_FRAMES = [
    answer(3, [0]),
    answer(3, [1, 0, 2]),
    frames.encode_records(records.EVENT, filled(records.EVENT_RECORD, 2), 5),
    frames.encode_records(records.TAPE, filled(records.TAPE_RECORD, 2), 5),
    frames.encode_records(records.BOOK, filled(records.BOOK_RECORD, 2), 5),
    *(frames.encode_message(message, first) for message, first in SERVER_MESSAGES),
]
