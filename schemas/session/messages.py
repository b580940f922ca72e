"""The rare messages of the session protocol, one Struct each, msgpack in a frame of type MESSAGE.

Hot commands and their answers are frames of records (`schemas.records`). Everything here travels
as the body of a frame whose `type` is MESSAGE, `length` 0 and `count` 1. Messages that change state
(`Order`, `RegisterAdapters`, `MemberAdd`, …) are numbered in the header's `first`; the others carry
0 there. WIRE.md is the source; `docs/wire.md` says the same for other languages.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from schemas import limits
from schemas.commands import AgentNumber, Name, Text
from schemas.explanation import Explanation

VERSION_MIN: Final = 1
VERSION_MAX: Final = 1

U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
CancelAfter = Annotated[int, Meta(ge=limits.CANCEL_AFTER_US_MIN, le=limits.CANCEL_AFTER_US_MAX)]
# A decoder makes room for as many entries as a list announces, before it sees one of them: without
# a bound five bytes could ask for gigabytes. No list that fits a message is longer.
_BOUNDED: Final = Meta(max_length=limits.MESSAGE_BYTES_MAX)
Numbers = Annotated[tuple[int, ...], _BOUNDED]
PublicKey = Annotated[str, Meta(min_length=40, max_length=40)]  # CURVE, Z85


class Message(Struct, frozen=True, kw_only=True, tag_field="m"):
    """A session message. Unknown fields are passed over: a newer side may say more."""


# ----------------------------------------------------------------------------- client to exchange
class Establish(Message, frozen=True, kw_only=True, tag="establish"):
    """Open a session, or resume the one named by `epoch` (0: a new one)."""

    version_min: int
    version_max: int
    request: U32 = 0  # counted by the client; a late answer to an earlier try is told apart by it
    epoch: U32 = 0
    cancel_after_us: CancelAfter = limits.CANCEL_AFTER_US_DEFAULT
    streams: Annotated[
        tuple[Name, ...], Meta(max_length=4096)
    ] = ()  # sites whose offers this session streams
    software: Text = ""


class Heartbeat(Message, frozen=True, kw_only=True, tag="heartbeat"):
    """Say that the sender lives; sent after a second of silence, by both ends.

    The follower says the number of the last event it sent, so that a lost one is seen although no
    later one comes.
    """

    sent: U64 = 0


class Terminate(Message, frozen=True, kw_only=True, tag="terminate"):
    """End the session now: its bids at rest and its streamed offers are cancelled."""


class Order(Message, frozen=True, kw_only=True, tag="order"):
    """Give one rare core command (by names, `at` 0). Numbered; ends the batch it arrives in."""

    command: msgspec.Raw  # msgpack of schemas.commands.AnyCommand


class RegisterAdapters(Message, frozen=True, kw_only=True, tag="register_adapters"):
    """Ask for the handle of a set of adapters for offers. Numbered."""

    adapters: Annotated[tuple[Name, ...], Meta(max_length=limits.ADAPTERS_PER_OFFER_MAX)]


class Lookup(Message, frozen=True, kw_only=True, tag="lookup"):
    """Ask what is known under names or handles of one kind; all of the kind when both are empty.

    Kinds: model, metro, site, operator, adapter; deal and campaign (the sender's own).
    """

    request: U32
    kind: Annotated[str, Meta(max_length=16)]
    names: Annotated[tuple[Name, ...], Meta(max_length=4096)] = ()
    handles: Annotated[tuple[U32, ...], Meta(max_length=4096)] = ()
    after: U32 = 0  # for all of a kind: entries with a handle above this one


class Query(Message, frozen=True, kw_only=True, tag="query"):
    """Ask what became of a bid (of this agent) or of a fill (of this member)."""

    request: U32
    bid: U64 = 0
    fill: U64 = 0


class MemberAdd(Message, frozen=True, kw_only=True, tag="member_add"):
    """Enrol an agent's key (admin). Registers the member's name and role on first use. Numbered."""

    member: Name
    role: Annotated[str, Meta(max_length=16)]  # operator, buyer, verifier, admin
    agent: AgentNumber
    public_key: PublicKey
    sites: Annotated[tuple[Name, ...], Meta(max_length=4096)] = ()
    units_per_second: U32 = 0  # 0: the exchange's default


class MemberRevoke(Message, frozen=True, kw_only=True, tag="member_revoke"):
    """Revoke one key, or every key of a member (admin). Cuts its sessions. Numbered."""

    member: Name
    public_key: Annotated[str, Meta(max_length=40)] = ""


class SiteKey(Message, frozen=True, kw_only=True, tag="site_key"):
    """Ask for the token key of a site (admin, for the site's bundle)."""

    request: U32
    site: Name


# ----------------------------------------------------------------------------- exchange to client
class SiteState(Struct, frozen=True, kw_only=True):
    """What an operator must know of one of its sites to report slots after a restart."""

    site: str
    handle: int
    # offer, fills made, fills not ended
    offers: Annotated[tuple[tuple[int, int, Numbers], ...], _BOUNDED]


class Established(Message, frozen=True, kw_only=True, tag="established"):
    """Open the session: what was agreed and what the exchange remembers of this agent."""

    request: int = 0  # the one of the Establish that this answers
    version: int
    epoch: int
    resumed: bool
    market: int
    member: str
    member_handle: int  # the core's handle of the operator or buyer; 0 for admin and verifier
    role: str
    agent: int
    last_message: int  # number of the last message applied in this epoch
    last_bid: int
    cancel_after_us: int
    sites: Annotated[tuple[SiteState, ...], _BOUNDED] = ()
    units_per_second: int = 0
    events_address: str = ""  # the follower's door for private events
    tape_address: str = ""
    now_ns: int = 0


class OrderAnswer(Message, frozen=True, kw_only=True, tag="order_answer"):
    """Answer a numbered message; `first` of the header names it."""

    code: int  # 0, or a number of schemas.reasons
    seq: int = 0  # sequence number of the command, 0 when it was none or was refused
    handle: int = 0  # of what was registered
    why: str = ""


class Entry(Struct, frozen=True, kw_only=True):
    """One thing known by name and handle; `detail` is msgpack of the command that made it."""

    handle: int
    name: str
    # A factory, for the JSON Schema of a default that is raw bytes cannot be written.
    detail: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"\xc0"))


class Found(Message, frozen=True, kw_only=True, tag="found"):
    """Answer a lookup; names that are not known are left out. `more`: ask again `after` the last."""

    request: int
    entries: Annotated[tuple[Entry, ...], _BOUNDED]
    more: bool = False


class Outcome(Message, frozen=True, kw_only=True, tag="outcome"):
    """Answer a query from the state as it is: what ended longer ago is in the event feed."""

    request: int
    known: bool  # the bid's number was used, or the fill is this member's
    resting: int = 0  # units at rest
    fills: Numbers = ()  # fills of the bid that have not ended
    state: str = ""  # of the fill: leased, started, disputed, ended


class SiteKeyAnswer(Message, frozen=True, kw_only=True, tag="site_key_answer"):
    """The site's token key, to the admin that asked."""

    request: int
    key_id: int
    key: bytes
    site_handle: int
    market: int


class Refused(Message, frozen=True, kw_only=True, tag="refused"):
    """Refuse a message before it was numbered; `first` of the header names it where it has one."""

    code: int
    why: str = ""
    expected: int = 0  # after a gap: the message number that comes next
    fatal: bool = False  # the session is over


class Terminated(Message, frozen=True, kw_only=True, tag="terminated"):
    """The session ended; `code` 0 when the client asked for it."""

    code: int = 0
    why: str = ""


# ----------------------------------------------------------------------------- the follower's door
class Subscribe(Message, frozen=True, kw_only=True, tag="subscribe"):
    """Ask for the member's events after number `after` (0: from the first that is kept).

    Events are numbered 1, 2, … per member; `first` of an EVENT frame is the number of its first
    record, so a gap is seen at once. `credit` bounds how many may be under way unacknowledged.
    """

    after: U64 = 0
    credit: Annotated[int, Meta(ge=1, le=1 << 20)] = 65_536


class Received(Message, frozen=True, kw_only=True, tag="received"):
    """Acknowledge events up to a number: gives the credit back."""

    upto: U64


class Subscribed(Message, frozen=True, kw_only=True, tag="subscribed"):
    """Answer a subscription: the last number there is, and the first that is kept."""

    last: int
    kept_from: int
    market: int = 0  # another market than before: what was received so far is not of this one


class Explain(Message, frozen=True, kw_only=True, tag="explain"):
    """Ask for the explanation of a bid of this agent that was flagged for it. Needs no subscription."""

    request: U32
    bid: U64


class Explained(Message, frozen=True, kw_only=True, tag="explained"):
    """Answer it: `code` 0 and the explanation, rounded for its buyer; else a reason of `refused`.

    110 `gap`: the follower has not come to that bid yet, ask again. 104 `rate`: more bids were flagged
    than are explained. 117 `explain`: not flagged, rejected, or not kept any more.
    """

    request: int
    code: int = 0
    why: str = ""
    explanation: Explanation | None = None


ClientMessage = (
    Establish | Heartbeat | Terminate | Order | RegisterAdapters | Lookup | Query | MemberAdd
    | MemberRevoke | SiteKey | Subscribe | Received | Explain
)  # fmt: skip
ServerMessage = (
    Established | Heartbeat | OrderAnswer | Found | Outcome | SiteKeyAnswer | Refused | Terminated
    | Subscribed | Explained
)  # fmt: skip
NUMBERED: Final = (Order, RegisterAdapters, MemberAdd, MemberRevoke)
