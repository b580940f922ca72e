"""One chat: bid, use the fill, stream, complete. What `Client.chat` returns."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, Protocol, TypeAlias

import aiohttp
import msgspec

from dsp_sdk.directory import Directory, UnknownNameError
from dsp_sdk.goal import rules_of
from dsp_sdk.request import ServeError, SiteRequest
from dsp_sdk.results import BidResult, Fill
from schemas import limits
from schemas.channel import ChannelError
from schemas.commands import AnyCommand, Campaign, CampaignModel, Model, Site

Message: TypeAlias = Mapping[str, Any]
# Without a tokenizer: a token of English has about four bytes, three leaves room for other scripts'
# worst ordinary text; each message and the model's own template cost some more.
_BYTES_PER_TOKEN: Final = 3
_TOKENS_PER_MESSAGE: Final = 8
_TOKENS_OF_TEMPLATE: Final = 32
_CEILING_OF_CARD: Final = 2


def estimate_tokens(messages: Sequence[Message]) -> int:
    """Estimate, on the generous side, the tokens of a prompt. A fill admits no more than it says."""
    size = sum(len(str(message.get("content") or "").encode()) for message in messages)
    per_message = _TOKENS_PER_MESSAGE * len(messages)
    estimate = -(-size // _BYTES_PER_TOKEN) + per_message + _TOKENS_OF_TEMPLATE
    return min(estimate, limits.TOKENS_MAX)


def chat_campaign(
    buyer: str, model: AnyCommand, max_latency_us: int, max_usd: float | None, words: Sequence[str]
) -> Campaign:
    """Return the campaign of a chat. Its name follows from its terms: asked again, it is the same.

    `max_usd` per million tokens; None: twice the dearer side of the model's card.
    """
    assert isinstance(model, Model)
    if max_usd is None:
        price = _CEILING_OF_CARD * max(model.card_in, model.card_out, 1)
    else:
        price = int((Decimal(str(max_usd)) * 10**6).to_integral_value(ROUND_CEILING))
    campaign = Campaign(
        at=0,
        campaign="chat",
        buyer=buyer,
        models=(CampaignModel(model=model.model),),
        latency_budget_us=max_latency_us,
        max_unit_price=min(price, limits.UNIT_PRICE_PUSD_MAX),
        **rules_of(words),  # type: ignore[arg-type]  # the rules are fields of a campaign
    )
    # A Struct does not check what its constructor is given; what was decoded was checked.
    campaign = msgspec.json.decode(msgspec.json.encode(campaign), type=Campaign)
    terms = hashlib.sha256(msgspec.json.encode(campaign)).hexdigest()
    return msgspec.structs.replace(campaign, campaign=f"chat-{terms[:24]}")


class Market(Protocol):
    """What a chat needs of the client that it is bought through (`dsp_sdk.client.Client`)."""

    directory: Directory

    @property
    def buyer(self) -> str:
        """The member's name."""

    @property
    def http(self) -> aiohttp.ClientSession:
        """The connections to sites."""

    async def register(self, campaign: Campaign) -> str:
        """Register a campaign."""

    async def bid(
        self, campaign: str, *, tokens_in: int, tokens_out: int, origin: str, max_latency_ms: float
    ) -> BidResult:
        """Bid for one slot."""

    async def site(self, handle: int, *, again: bool) -> Site:
        """Return what the directory says of a site."""

    async def complete(self, fill: int, *, tokens_in: int, tokens_out: int, ttft_us: int) -> bool:
        """Report what this side metered."""

    async def release(self, fill: int) -> bool:
        """Give a leased slot back."""

    def background(self, work: "asyncio.Future[None]") -> None:
        """Keep a task until it is done."""


class Chat:
    """A chat that is bought when it is iterated, once: `async for text in chat`.

    Afterwards: `fill` what was bought, `request` what was metered, `text` the whole answer.
    Iterating raises UnfilledError (with the reason), ServeError, or what a bid raises. However it
    ends, the fill is completed with what was metered, or released when nothing had started.
    """

    def __init__(
        self,
        client: Market,
        *,
        model: str,
        messages: str | Sequence[Message],
        max_latency_us: int,
        max_tokens: int,
        tokens_in: int | None,
        origin: str,
        max_usd_per_million_tokens: float | None,
        require: tuple[str, ...],
        campaign: str,
        attempts: int,
        options: Mapping[str, Any],
    ) -> None:
        self.fill: Fill | None = None
        self.request: SiteRequest | None = None
        self.text = ""
        self._client = client
        self._model = model
        self._messages: Sequence[Message] = (
            [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        )
        self._max_latency_us = max_latency_us
        self._max_tokens = max_tokens
        self._tokens_in = estimate_tokens(self._messages) if tokens_in is None else tokens_in
        self._origin = origin
        self._max_usd = max_usd_per_million_tokens
        self._require = require
        self._campaign = campaign
        self._attempts = max(1, attempts)
        self._options = options

    async def whole(self) -> str:
        """Buy, ask, and return the whole answer."""
        async for _ in self:
            pass
        return self.text

    async def __aiter__(self) -> AsyncIterator[str]:
        """Buy one slot and give the answer piece by piece."""
        client = self._client
        campaign = self._campaign or await self._register()
        for attempt in range(1, self._attempts + 1):
            result = await client.bid(
                campaign,
                tokens_in=self._tokens_in,
                tokens_out=self._max_tokens,
                origin=self._origin,
                max_latency_ms=self._max_latency_us / 1_000,
            )
            self.fill = result.fill
            request = self.request = self._make_request(self.fill)
            try:
                async for text in request:
                    self.text += text
                    yield text
            except ServeError as error:
                if error.started or attempt == self._attempts:
                    raise
                await self._look_again(self.fill)
            else:
                return
            finally:
                client.background(asyncio.ensure_future(self._settle(request)))

    async def _register(self) -> str:
        """Register the campaign of these terms, or find it registered; returns its name."""
        directory = self._client.directory
        model = await directory.detail("model", await directory.handle("model", self._model))
        wanted = chat_campaign(
            self._client.buyer, model, self._max_latency_us, self._max_usd, self._require
        )
        try:
            await directory.handle("campaign", wanted.campaign)
        except UnknownNameError:
            await self._client.register(wanted)
        return wanted.campaign

    def _make_request(self, fill: Fill) -> SiteRequest:
        body = {
            **self._options,
            "model": self._model,
            "messages": list(self._messages),
            "max_tokens": self._max_tokens,
        }
        return SiteRequest(self._client.http, fill, body, time.monotonic_ns)

    async def _look_again(self, fill: Fill) -> None:
        """Ask for the site's address once more: it may have moved, or made a new certificate."""
        handle = await self._client.directory.handle("site", fill.site)
        await self._client.site(handle, again=True)

    async def _settle(self, request: SiteRequest) -> None:
        fill = request.fill.fill
        try:
            if request.started:
                await self._client.complete(
                    fill,
                    tokens_in=request.tokens_in,
                    tokens_out=request.tokens_out,
                    ttft_us=request.ttft_us,
                )
            else:
                await self._client.release(fill)
        except ChannelError:
            # The session ended under it. The exchange settles a silent buyer's fill at the
            # operator's figure, or releases it at its lease's end (MARKET.md §8).
            return
