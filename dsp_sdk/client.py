"""The buyer's client: campaigns, bids, fills, over one session that survives its connections.

Everything here runs on the loop that connected. Money is nano-dollars, prices per token are
pico-dollars (micro-dollars per million tokens), as everywhere in the market (MARKET.md §1).
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import aiohttp
import msgspec
import numpy as np
import zmq

from dsp_sdk.chat import Chat, Message
from dsp_sdk.directory import Directory, UnknownNameError
from dsp_sdk.events import Events, FirstCopies
from dsp_sdk.explaining import Explanations
from dsp_sdk.results import (
    BidResult,
    BidsResult,
    Fill,
    accepted,
    bid_records,
    code_name,
    fill_from,
    frame_bounds,
)
from dsp_sdk.tape import Tape
from schemas import limits, records
from schemas.bundle import Bundle
from schemas.channel import (
    Answer,
    Channel,
    ChannelError,
    NotSentError,
    OutcomeUnknownError,
    RefusedError,
    RejectedError,
    SessionOverError,
)
from schemas.commands import Campaign, CampaignEnd, Site
from schemas.explanation import Explanation
from schemas.link import ClientLink, FeedClient
from schemas.reasons import NAME_OF_NO_FILL, REFUSED, REJECTED
from schemas.session.client import ClientSession
from schemas.session.messages import Established, Outcome

SOFTWARE: Final = "curb dsp_sdk 1"
# A start is on its way from the site while the buyer already completes: it is asked again.
_PATIENCE_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
_STATE: Final = REJECTED["state"]


class Client:
    """A buyer's session. Make it by `connect`; close it by `async with` or `close`."""

    def __init__(
        self,
        bundle: Bundle,
        context: "zmq.Context[zmq.Socket[bytes]]",
        origin: str,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        cancel_after_us: int = limits.CANCEL_AFTER_US_DEFAULT,
    ) -> None:
        self.bundle = bundle
        self.origin = origin
        self._context = context
        self._clock_ns = clock_ns
        self._next_bid = 1
        self._bidding = asyncio.Lock()
        self._copies = FirstCopies()
        self._http: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Future[None]] = set()
        self._feeds: list[Events | Tape] = []
        self._explanations = Explanations(lambda: self._link(self._events_address))
        self.channel = Channel(
            self._link(bundle.commands_address),
            ClientSession(software=SOFTWARE, cancel_after_us=cancel_after_us),
            clock_ns,
            self._opened,
        )
        self.directory = Directory(self.channel)

    def _link(self, address: str) -> ClientLink:
        keys = self.bundle
        return ClientLink(self._context, address, keys.server_key, keys.public_key, keys.secret_key)

    def _opened(self, established: Established, resumed: bool) -> None:
        self.directory.note_market(established.market)
        self._next_bid = max(self._next_bid, established.last_bid + 1)

    @property
    def buyer(self) -> str:
        """The member's name, as the exchange knows it by this agent's key."""
        return self._established.member

    @property
    def _events_address(self) -> str:
        return self.bundle.events_address or self._established.events_address

    @property
    def _established(self) -> Established:
        established = self.channel.established
        assert established is not None  # connect() returns an open client
        return established

    # ------------------------------------------------------------------------- campaigns
    async def register(self, campaign: Campaign) -> str:
        """Register a campaign (its `buyer` must be this one) and return its name.

        Registering the same one again changes nothing.

        Raises:
            RejectedError: `exists`, when another campaign has this name; `unknown`; `limit`.
            RefusedError: a field of it is refused.
        """
        try:
            answer = await self.channel.order(campaign)
        except RejectedError as error:
            if error.code != REJECTED["exists"]:
                raise
            handle = await self.directory.handle("campaign", campaign.campaign)
            standing = await self.directory.detail("campaign", handle)
            if msgspec.structs.replace(standing, at=campaign.at) != campaign:
                raise
            return campaign.campaign
        self.directory.remember("campaign", campaign.campaign, answer.handle)
        return campaign.campaign

    async def end(self, campaign: str) -> None:
        """End a campaign: its bids at rest end `cancelled`, the name is free again."""
        await self.channel.order(CampaignEnd(at=0, buyer=self.buyer, campaign=campaign))
        self.directory.forget("campaign", campaign)

    # ------------------------------------------------------------------------- bids
    async def bid(
        self,
        campaign: str,
        *,
        tokens_in: int,
        tokens_out: int,
        origin: str = "",
        origin_asn: int = 0,
        quantity: int = 1,
        rest_ms: int = 0,
        lease_ms: int = 5_000,
        adapter: str = "",
        max_latency_ms: float | None = None,
        max_price_nusd: int | None = None,
        explain: bool = False,
    ) -> BidResult:
        """Bid for `quantity` slots and return what became of it; a no-fill is a result, no error.

        With `explain` the follower explains the bid, and `explain(result.bid)` asks how.

        Raises:
            OutcomeUnknownError: the answer was lost; `outcome(bid=…)` tells. UnknownNameError.
        """
        batch = bid_records(1)
        batch["campaign"] = await self.directory.handle("campaign", campaign)
        batch["origin"] = await self._origin_handle(origin)
        batch["origin_asn"] = origin_asn
        batch["tokens_in"] = tokens_in
        batch["tokens_out"] = tokens_out
        batch["adapter"] = await self.directory.handle("adapter", adapter) if adapter else 0
        batch["quantity"] = quantity
        batch["rest_us"] = 1_000 * rest_ms
        batch["lease_us"] = 1_000 * lease_ms
        if max_latency_ms is not None:
            batch["latency_budget_us"] = int(1_000 * max_latency_ms)
        if max_price_nusd is not None:
            batch["max_price"] = max_price_nusd
        batch["flags"] = records.FLAG_EXPLAIN if explain else 0
        many = await self.bid_many(batch)
        bid = int(many.bids[0])
        if many.unknown[0]:
            raise OutcomeUnknownError(f"what became of bid {bid} is for outcome(bid={bid}) to tell")
        status = many.statuses[0]
        code = int(status["code"])
        reason = code_name(code) if code else NAME_OF_NO_FILL.get(int(status["reason"]), "")
        return BidResult(
            bid=bid,
            fills=await self.fills(many.fills),
            resting=int(status["resting"]),
            ended=int(status["ended"]),
            reason=reason,
            refused=code != 0,
        )

    async def bid_many(self, batch: np.ndarray) -> BidsResult:
        """Send BID records (see `bid_records`) in as few frames as they fit, and await all answers.

        Numbers are given here: `batch["bid"]` is overwritten. A frame that was refused whole, or never
        left, shows its code in each of its statuses; one whose answer was lost is marked `unknown`.

        Raises:
            NotSentError, SessionOverError: not one frame was answered.
        """
        bounds = frame_bounds(
            batch["quantity"], limits.RECORDS_PER_FRAME_MAX, limits.UNITS_PER_FRAME_MAX
        )
        under_way: list[asyncio.Future[Answer]] = []
        async with self._bidding:
            await self.channel.opened()
            first = self._next_bid
            self._next_bid += len(batch)
            batch["bid"] = np.arange(first, first + len(batch), dtype=np.uint64)
            for start, end in bounds:
                under_way.append(await self._posted(records.BID, batch[start:end]))
        statuses = np.zeros(len(batch), records.STATUS_RECORD)
        unknown = np.zeros(len(batch), np.bool_)
        fills: list[np.ndarray] = []
        lost: ChannelError | None = None
        for (start, end), future in zip(bounds, under_way, strict=True):
            try:
                answer = await future
            except RefusedError as error:
                statuses["code"][start:end] = error.code
            except NotSentError as error:
                statuses["code"][start:end] = REFUSED["not_established"]
                lost = error
            except ChannelError as error:  # the answer is lost, or the session with it
                unknown[start:end] = True
                lost = None if isinstance(error, OutcomeUnknownError) else error
            else:
                statuses[start:end] = answer.statuses
                fills.append(answer.fills)
        # What other frames bought is the caller's, who could not give it back if it were not told.
        if lost is not None and not fills:
            raise lost
        got = np.concatenate(fills) if fills else np.zeros(0, records.FILL_RECORD)
        self._copies.note(got["fill"])
        return BidsResult(batch["bid"].copy(), statuses, got, unknown)

    async def fills(self, array: np.ndarray) -> tuple[Fill, ...]:
        """Return FILL records as objects, names and endpoints looked up (and kept)."""
        rows = [dict(zip(array.dtype.names or (), row.tolist(), strict=True)) for row in array]
        operators = await self.directory.names("operator", (row["operator"] for row in rows))
        models = await self.directory.names("model", (row["model"] for row in rows))
        result = []
        for row, record in zip(rows, array, strict=True):
            site = await self.site(row["site"])
            operator = operators.get(row["operator"], "")
            model = models.get(row["model"], "")
            result.append(fill_from(row, record["token"].tobytes(), operator, model, site))
        return tuple(result)

    async def site(self, handle: int, *, again: bool = False) -> Site:
        """Return what the exchange's directory says of a site; `again`: ask even if it is known."""
        detail = await self.directory.detail("site", handle, again=again)
        if not isinstance(detail, Site):
            raise UnknownNameError("site", handle)
        return detail

    async def cancel(self, bid: int) -> bool:
        """Take a bid at rest away; False when it is not at rest (any more)."""
        status = await self._one(records.BID_CANCEL, bid=bid)
        return accepted(status, _STATE)

    async def cancel_all(self) -> None:
        """Take all bids at rest of this agent away."""
        accepted(await self._one(records.BIDS_CANCEL))

    async def outcome(self, *, bid: int = 0, fill: int = 0) -> Outcome:
        """Ask what became of a bid of this agent, or of a fill: the way out of OutcomeUnknown."""
        return await self.channel.query(bid=bid, fill=fill)

    async def explain(self, bid: int, *, timeout_s: float = 5.0) -> Explanation:
        """Ask why a bid of this agent that was made with `explain=True` got what it got (MARKET.md §7).

        `constraints` say what each constraint of the campaign costs each fill, `counter_offer` what
        is the smallest change with which a unit that did not fill had filled, and its price then;
        numbers are rounded to two digits. `schemas.explanation.lines` makes text of it.

        Raises:
            RefusedError: `explain`: the bid was not flagged, was rejected, or is not kept any more;
                `rate`: this buyer flags more bids than are explained.
            TimeoutError: the follower did not come to the bid in time.
        """
        return await self._explanations.ask(bid, timeout_s)

    # ------------------------------------------------------------------------- after the fill
    async def complete(
        self, fill: int, *, tokens_in: int, tokens_out: int, ttft_us: int, patient: bool = True
    ) -> bool:
        """Report what this side metered of a fill; 0 tokens when it was not served.

        A fill whose start has not reached the exchange yet is not ready for it: that is tried again
        for some seconds unless not `patient`. Returns False when the exchange has no row for it
        (not started, ended, or completed before). Lost answers are asked again: it counts once.
        """
        waits = iter(_PATIENCE_S if patient else ())
        while True:
            try:
                status = await self._one(
                    records.COMPLETE, fill=fill, tokens_in=tokens_in, tokens_out=tokens_out,
                    ttft_us=min(ttft_us, limits.LATENCY_US_MAX),
                )  # fmt: skip
                if accepted(status, _STATE):
                    return True
            except (OutcomeUnknownError, NotSentError):
                pass
            wait_s = next(waits, None)
            if wait_s is None:
                return False
            await asyncio.sleep(wait_s)

    async def complete_many(self, batch: np.ndarray) -> np.ndarray:
        """Send COMPLETE records and return their STATUS records (code 208: not started, or done)."""
        return await self._many(records.COMPLETE, batch)

    async def release(self, fill: int) -> bool:
        """Give a leased slot back; a start on its way still wins. False when it is not leased."""
        return accepted(await self._one(records.RELEASE, fill=fill), _STATE)

    async def release_many(self, fills: np.ndarray) -> np.ndarray:
        """Give leased slots back (fill numbers); returns STATUS records."""
        batch = np.zeros(len(fills), records.RELEASE_RECORD)
        batch["fill"] = fills
        return await self._many(records.RELEASE, batch)

    # ------------------------------------------------------------------------- using a fill
    def chat(
        self,
        model: str,
        messages: str | Sequence[Message],
        *,
        max_latency_ms: float = 1_000,
        max_tokens: int = 128,
        tokens_in: int | None = None,
        origin: str = "",
        max_usd_per_million_tokens: float | None = None,
        require: Sequence[str] = (),
        campaign: str = "",
        attempts: int = 2,
        **options: Any,
    ) -> Chat:
        """Buy one slot, send it one chat, stream the answer: `async for` the result.

        `messages`: a prompt, or OpenAI-style messages. `require`: jurisdictions such as `GDPR`.
        Without a `campaign` one is registered for these terms, once; without a price the ceiling is
        twice the model's card. `tokens_in` is estimated generously if not given. `options` go into
        the request (temperature, stop, …). Another fill is bought (up to `attempts`) while no
        byte came. The returned `Chat` tells afterwards what was bought and metered.
        """
        return Chat(
            self,
            model=model,
            messages=messages,
            max_latency_us=int(1_000 * max_latency_ms),
            max_tokens=max_tokens,
            tokens_in=tokens_in,
            origin=origin,
            max_usd_per_million_tokens=max_usd_per_million_tokens,
            require=tuple(require),
            campaign=campaign,
            attempts=attempts,
            options=options,
        )

    @property
    def http(self) -> aiohttp.ClientSession:
        """The pool of connections to sites: kept open, for a new one costs two or three round trips."""
        if self._http is None or self._http.closed:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
            self._http = aiohttp.ClientSession(timeout=timeout)
        return self._http

    # ------------------------------------------------------------------------- feeds, names
    def events(self, after: int = 0) -> Events:
        """Read this member's events from number `after` on (0: from the first that is kept)."""
        address = self._events_address
        events = Events(lambda: self._link(address), self._clock_ns, self._copies, after)
        self._feeds.append(events)
        return events

    def tape(self) -> Tape:
        """Read the public tape and book."""
        address = self.bundle.tape_address or self._established.tape_address
        keys = self.bundle
        tape = Tape(
            lambda: FeedClient(
                self._context, address, keys.server_key, keys.public_key, keys.secret_key,
                (records.TAPE, records.BOOK),
            )
        )  # fmt: skip
        self._feeds.append(tape)
        return tape

    async def models(self) -> Mapping[str, Any]:
        """Return the models that the exchange knows: name → their command, the card included."""
        return await self.directory.everything("model")

    async def metros(self) -> Mapping[str, Any]:
        """Return the metros that a request may come from: name → their command."""
        return await self.directory.everything("metro")

    async def _origin_handle(self, origin: str) -> int:
        name = origin or self.origin
        if not name:
            known = sorted(await self.metros())
            raise UnknownNameError("origin", "", known)
        return await self.directory.handle("metro", name)

    # ------------------------------------------------------------------------- inside
    def background(self, work: "asyncio.Future[None]") -> None:
        """Keep a task until it is done; `close` waits for it."""
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def _posted(self, kind: int, batch: np.ndarray) -> "asyncio.Future[Answer]":
        """Post a frame; of one that cannot be sent any more the future says so."""
        try:
            return await self.channel.post(kind, batch)
        except SessionOverError as error:
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            future.set_exception(NotSentError(str(error)))
            return future

    async def _one(self, kind: int, **fields: int) -> np.void:
        batch = np.zeros(1, records.COMMAND_RECORDS[kind])
        for name, value in fields.items():
            batch[name] = value
        status: np.void = (await self._many(kind, batch))[0]
        return status

    async def _many(self, kind: int, batch: np.ndarray) -> np.ndarray:
        step = limits.RECORDS_PER_FRAME_MAX
        futures = [
            await self.channel.post(kind, batch[start : start + step])
            for start in range(0, len(batch), step)
        ]
        parts = [(await future).statuses for future in futures]
        return np.concatenate(parts) if parts else np.zeros(0, records.STATUS_RECORD)

    async def close(self) -> None:
        """End the session (bids at rest are cancelled) and close every connection."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=sum(_PATIENCE_S))
        if self._http is not None:
            await self._http.close()
        for feed in self._feeds:
            feed.close()
        self._explanations.close()
        await self.channel.close()
        self._context.term()
