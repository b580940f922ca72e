"""The market in plain Python: the definition that the compiled core must equal, event for event.

It reads like MARKET.md and is slow on purpose: every bid looks at every offer. One file per section:

    state        what the market knows                                §2, §3
    terms        cost, card, latency, value, score                    §5
    eligibility  the table of 20 rules                                §5
    auction      a bid arrives; capacity arrives                      §6
    lifecycle    what becomes of a fill, and who is paid              §8
    expiry       what is due at the start of a command                §6 Expiries
    rejects      which commands are refused, in order of checks       MARKET_FILE.md
    commands     what an accepted command does                        MARKET_FILE.md
    audit        money and slots are conserved                        §8
    rows         the state as rows of the digest
"""

from matching_core.reference.market import ReferenceMarket

__all__ = ["ReferenceMarket"]
