"""The compiled market: free functions over the state vector `s` (matching_core/columns.py).

entry       one call per frame: asks for room, numbers, dispatches
expiry      what is due at a command's start                     MARKET.md §6, "Expiries"
bid         a bid arrives: open offers compete                   §6a, §7
capacity    capacity arrives: resting bids compete               §6b; offer, refresh, renew
lifecycle   after the fill: start, complete, settle, release     §8
rules       eligibility, cost, latency, value, score             §5
campaigns   the site rules of a campaign as a bitmap             §5, rules 4 to 11
book        offers and fills in their lists, slots in flight     §3
rests       bids at rest in their lists
waits       what open fills wait for, in order of time           §6, "Expiries"
ahead       what the next bids of a frame will ask of memory
heap        what ends by time       wide   two-word arithmetic   emit   rows of events
"""
