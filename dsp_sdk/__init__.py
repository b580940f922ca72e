"""What buyers use: campaigns, bids, fills, and the requests they buy (import dsp_sdk as curb).

import dsp_sdk as curb

async with curb.connect("buyer.bundle.json") as market:
    async for text in market.chat("smollm2-135m", "Say hello", max_latency_ms=5000):
        print(text, end="")
"""

from asyncio import run

from dsp_sdk.chat import Chat
from dsp_sdk.client import Client
from dsp_sdk.connecting import NoExchangeError, connect
from dsp_sdk.directory import UnknownNameError
from dsp_sdk.events import Events, EventsClosedError, EventsMissedError
from dsp_sdk.goal import Goal, GoalError, parse_goal
from dsp_sdk.pool import Pool
from dsp_sdk.request import ServeError, SiteRefusedError, SiteRequest, SiteUnreachableError
from dsp_sdk.results import BidResult, BidsResult, Fill, UnfilledError, bid_records
from dsp_sdk.tape import Tape
from schemas.bundle import Bundle, BundleError, load_bundle
from schemas.channel import (
    ChannelError,
    NotSentError,
    OutcomeUnknownError,
    RefusedError,
    RejectedError,
    SessionOverError,
)
from schemas.commands import Campaign, CampaignModel
from schemas.explanation import Change, Explanation

OutcomeUnknown = OutcomeUnknownError  # the word for it in documents and in conversation

__all__ = [
    "BidResult", "BidsResult", "Bundle", "BundleError", "Campaign", "CampaignModel",
    "Change", "ChannelError", "Chat", "Client", "Events", "EventsClosedError",
    "EventsMissedError", "Explanation", "Fill",
    "Goal", "GoalError", "NoExchangeError", "NotSentError", "OutcomeUnknown",
    "OutcomeUnknownError", "Pool", "RefusedError", "RejectedError", "ServeError",
    "SessionOverError", "SiteRefusedError", "SiteRequest", "SiteUnreachableError", "Tape",
    "UnfilledError", "UnknownNameError", "bid_records", "connect", "load_bundle", "parse_goal",
    "run",
]  # fmt: skip
