"""Adapter: a live llama.cpp server (`llama-server`, xllamacpp) becomes offers.

What it says itself (`/metrics`, `/slots`, `/props`) gives concurrency, load and speed; it knows neither
its KV cache's use nor its time to first token, so the site times its own traffic and says so too.
"""

from ssp_adapters.llama_server.read import Engine, Traffic, read
from ssp_adapters.yield_policy import offers

BY_SITE = True  # contract.Adapter

__all__ = ["BY_SITE", "Engine", "Traffic", "offers", "read"]
