"""A first fill, and what it said: `./run python docs/examples/buyer.py shop-0.bundle.json`."""

import sys

import dsp_sdk as curb


async def main(bundle: str) -> None:
    async with curb.connect(bundle) as market:
        goal = curb.parse_goal("100 ms, GDPR, $2.50 per million tokens")
        await market.register(goal.campaign(market.buyer, "chat", ["llama-3.1-8b"]))
        result = await market.bid("chat", tokens_in=200, tokens_out=100)
        for fill in result.fills:
            print(fill.site, fill.hardware, fill.price_nusd, "n$,", fill.latency_us, "µs")
        print(result.reason or "filled")


curb.run(main(sys.argv[1]))
