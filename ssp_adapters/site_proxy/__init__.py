"""The proxy before a site's engine: admits fills, streams, meters, and tells the exchange.

journal    what must survive a crash: used tokens, what the exchange has not acknowledged
admission  who is let in (pure)         body   what a fill lets through to the engine (pure)
settle     start, complete, decline, until they are acknowledged
engine     the OpenAI-compatible server behind: streams, probes, samples for the adapter
server     the HTTPS door               site   all of it, as one process
"""
