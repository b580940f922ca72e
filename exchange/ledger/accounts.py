"""The accounts of the ledger, and which of them each event moves money between.

    kind          owner       what stands on it
    outside       (one)       minus all that members paid in and did not take out again
    available     a buyer     what it can bid with; units at rest hold part of it, which is no posting:
                              nothing has changed hands, and the hold ends with the bid
    held          a buyer     the price of its fills that have not ended
    balance       an operator what it earned
    fees          (one)       what the exchange earned
    withheld      (one)       what a buyer paid and nobody in the fill earned (MARKET.md §8)

An account's number is 8 × the member's handle + its kind, so it is a function of the journal.
"""

from typing import Final

OUTSIDE: Final = 1
FEES: Final = 2
WITHHELD: Final = 3
AVAILABLE: Final = 4
HELD: Final = 5
BALANCE: Final = 6
KINDS: Final = {
    OUTSIDE: "outside",
    FEES: "fees",
    WITHHELD: "withheld",
    AVAILABLE: "available",
    HELD: "held",
    BALANCE: "balance",
}
STEP: Final = 8  # numbers per member
SPAN_BITS: Final = 16  # 65,536 commands net into one posting per pair (WIRE.md, "The follower")

# Accounts that belong to nobody but the exchange: handle 0.
OF_THE_EXCHANGE: Final = (OUTSIDE, FEES, WITHHELD)


def kind_of(account: int) -> str:
    """Return the name of an account's kind."""
    return KINDS[account % STEP]
