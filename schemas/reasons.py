"""Numbered reasons: why a command was rejected, why a bid did not fill, why a session refused.

Ranges follow the habit of advertising exchanges: 100–199 refused by the session or admission
(unnumbered, unjournaled), 200–299 rejected by the market (MARKET_FILE.md), 300–399 no fill
(MARKET.md §7), in the order in which they are looked for, 401–499 not served at the site, after the
fill. Numbers are never used again.
"""

from typing import Final

ACCEPTED: Final = 0

# Refused before the sequencer: nothing was numbered, nothing is in the journal.
REFUSED: Final = {
    "role": 101,  # this role may not send this command
    "field": 102,  # a field is out of its range or not this member's to set
    "handle": 103,  # a handle is unknown, stale or another member's
    "rate": 104,  # over the member's rate, in units
    "size": 105,  # more records or units than a frame may carry
    "version": 106,  # a record version that was not agreed
    "malformed": 107,  # bytes that are no message: the session ends
    "halted": 108,  # the exchange takes no bids (disk, shutdown); cancels still pass
    "not_established": 109,
    "gap": 110,  # message numbers must follow one another; the answer names the one expected
    "duplicate": 111,  # applied before, and the first answer is out of the window: query
    "registrations": 112,  # more registrations of a kind than a member may make
    "lease": 113,  # a lease the wire does not take (WIRE_LEASE_US_MIN)
    "site": 114,  # the agent is not enrolled for this site
    "name": 115,  # an owned name must begin with its member and a slash
    "session": 116,  # the session ended or was taken over by a newer one of this agent
    "explain": 117,  # the bid was not flagged for it, or its explanation is not kept any more
}

# Rejected by the market, in the order of MARKET_FILE.md's checks.
REJECTED: Final = {
    "unknown": 201,
    "exists": 202,
    "duplicate": 203,
    "halted": 204,
    "limit": 205,
    "fills_seen": 206,
    "funds": 207,
    "state": 208,
}

# The rules of MARKET.md §5 in order: the number less NO_FILL_BASE is the place in the table.
ELIGIBILITY_RULES: Final = (
    "no_model", "no_capacity", "cold", "own", "residency", "data_residency", "sovereignty",
    "certification", "tier", "operator", "trust", "capability", "hardware", "precision",
    "contract", "speed", "peering", "context", "latency", "price",
)  # fmt: skip
NO_FILL_BASE: Final = 300
NO_FILL: Final = {name: NO_FILL_BASE + n for n, name in enumerate(ELIGIBILITY_RULES, start=1)} | {
    "insufficient_funds": 331,
    "expired": 332,
    "cancelled": 333,
    "halted": 334,
}

# Not admitted, or not served, at the site: what its proxy answers over HTTP, beside the status.
ADMISSION: Final = {
    "token": 401,  # none, or no token at all
    "version": 402,
    "key": 403,  # made under a key that this site does not hold
    "mac": 404,  # altered, or made for another site
    "market": 405,
    "site": 406,
    "deadline": 407,
    "used": 408,
    "voided": 409,  # the buyer gave the fill back
    "start": 410,  # the exchange did not take the start: the lease was over
    "model": 411,  # the fill is of a model or an adapter that is not served here
    "request": 412,  # the fill does not cover this request, or it is none
    "draining": 413,
    "engine": 414,  # the engine failed: the fill was declined
}

NAME_OF_REFUSED: Final = {number: name for name, number in REFUSED.items()}
NAME_OF_REJECTED: Final = {number: name for name, number in REJECTED.items()}
NAME_OF_NO_FILL: Final = {number: name for name, number in NO_FILL.items()}
NAME_OF_ADMISSION: Final = {number: name for name, number in ADMISSION.items()}
