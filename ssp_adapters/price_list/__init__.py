"""Adapter: a price list of sites, hardware and hourly prices becomes per-token offers.

`read.py` says what the CSV looks like, `throughput.py` how an hour becomes tokens, the two tables of
facts where its numbers come from. Asks and tranches are the shared yield policy's.
"""

from ssp_adapters.price_list.read import read
from ssp_adapters.yield_policy import offers

BY_SITE = True  # contract.Adapter

__all__ = ["BY_SITE", "offers", "read"]
