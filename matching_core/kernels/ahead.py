"""What the next bids of a frame will ask of memory, asked for while this one is auctioned.

    bid + 6   its campaign, and where that keeps its views
    bid + 3   the stretch of DIRECTORY of its first model, the round trips' bits of its origin
    bid + 1   the first shelves there and the campaign's views of them

Each step reads what the one before let come. Nothing here decides anything: a handle that is not
known is passed over, and what is asked for and not used costs a little time.
"""

from matching_core import columns as c
from matching_core.jit import Array, i64, inbox, inner, prefetch, table
from matching_core.kernels.search import ask_for
from matching_core.kernels.stages import KNOWN_OF_ALL
from schemas import records

_BID = records.BID_RECORD
_FAR, _MIDDLE, _NEAR = 6, 3, 1
_LINE = 64
_SHELVES = 2  # of the first model


@inner
def campaign_at(s: Array, place: int) -> int:
    """Return the campaign that record `place` of the inbox names, 0 if there is none."""
    campaign = i64(inbox(s, c.INBOX, _BID)[place]["campaign"])
    return campaign if 1 <= campaign <= s[c.CAMPAIGN_COUNT] else 0


@inner
def first_lane(s: Array, campaign: int) -> int:
    """Return the open offers' lane of a campaign's first model, 0 if there is none."""
    model = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)[campaign, c.CAMPAIGN_MODELS]
    return i64(c.LANES_PER_MODEL * model)


@inner
def ask_for_bids(s: Array, place: int, count: int) -> None:
    """Ask for lines of the bids behind record `place`."""
    if place + _FAR < count:
        campaign = campaign_at(s, place + _FAR)
        row = 8 * c.CAMPAIGN_ROW * campaign
        prefetch(s, c.CAMPAIGNS, row)
        prefetch(s, c.CAMPAIGNS, row + _LINE)
        prefetch(s, c.CAMPAIGNS, row + 2 * _LINE)
        prefetch(s, c.CAMPAIGNS, row + 8 * KNOWN_OF_ALL)
        prefetch(s, c.VIEW_RANGES, 8 * c.VIEW_RANGE_ROW * campaign)
    if place + _MIDDLE < count:
        campaign = campaign_at(s, place + _MIDDLE)
        first = table(s, c.LANES, c.LANE_WORDS)[first_lane(s, campaign), c.LANE_FIRST]
        for entry in range(_SHELVES):
            prefetch(s, c.DIRECTORY, 8 * c.ENTRY_ROW * (first + entry))
    if place + _NEAR < count:
        campaign = campaign_at(s, place + _NEAR)
        lane = first_lane(s, campaign)
        first = table(s, c.LANES, c.LANE_WORDS)[lane, c.LANE_FIRST]
        first_view = table(s, c.VIEW_RANGES, c.VIEW_RANGE_ROW)[campaign, 0]
        shelves = table(s, c.LANES, c.LANE_WORDS)[lane, c.LANE_COUNT]
        for entry in range(first, first + min(_SHELVES, shelves)):
            ask_for(s, entry, first_view)
