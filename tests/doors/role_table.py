"""Who may send what, written down a second time from MARKET_FILE.md's table, with an example of each.

The product has the table as data (`schemas.roles`); this one is the tests' own, so that a slip in
either shows.
"""

from schemas import commands as c
from schemas import records

SENDERS = {
    "admin": "admin", "verifier": "verifier", "lantern": "operator", "beacon": "operator",
    "acme": "buyer", "bolt": "buyer",
}  # fmt: skip

# Frame type → who may send it, and records that its rightful sender's are (of lantern and acme).
HOT = {
    records.OFFER: {"operator"},
    records.REFRESH: {"operator"},
    records.RENEW: {"operator"},
    records.OFFER_CANCEL: {"operator"},
    records.OFFERS_CANCEL: {"operator"},
    records.BID: {"buyer"},
    records.BID_CANCEL: {"buyer"},
    records.BIDS_CANCEL: {"buyer"},
    records.START: {"operator"},
    records.COMPLETE: {"operator", "buyer"},
    records.RELEASE: {"buyer"},
    records.DECLINE: {"operator"},
    records.RTT: {"verifier"},
}
NAMES_A_SITE = {
    records.OFFER, records.REFRESH, records.RENEW, records.OFFER_CANCEL, records.OFFERS_CANCEL,
}  # fmt: skip
NAMES_A_FILL = {records.START, records.COMPLETE, records.RELEASE, records.DECLINE}


def hot_row(kind, campaign, fill):
    """A record that its rightful sender (lantern, acme, the verifier) may send."""
    return {
        records.OFFER: {
            "site": 1, "offer": 2, "model": 1, "slots": 1, "context_limit": 512,
            "ttl_us": 60_000_000, "ask_in": 77,
        },
        records.REFRESH: {"site": 1, "offer": 1, "slots": 1, "ttl_us": 60_000_000},
        records.RENEW: {"site": 1, "ttl_us": 60_000_000},
        records.OFFER_CANCEL: {"site": 1, "offer": 3},
        records.OFFERS_CANCEL: {"site": 1},
        records.BID: {
            "bid": 50, "campaign": campaign, "origin": 1, "tokens_in": 1, "tokens_out": 1,
            "lease_us": 5_000_000, "max_price": records.NONE_U64,
            "latency_budget_us": records.NONE_U32, "quantity": 1,
        },
        records.BID_CANCEL: {"bid": 2},
        records.BIDS_CANCEL: {},
        records.START: {"fill": fill},
        records.COMPLETE: {"fill": fill},
        records.RELEASE: {"fill": fill},
        records.DECLINE: {"fill": fill},
        records.RTT: {"site": 1, "metro": 1, "p99_us": 1},
    }[kind]  # fmt: skip


def _site(name):
    return c.Site(
        at=0, site=name, operator="lantern", tier="metro_colo", lat=0.0, lon=0.0, country="DE"
    )


def _campaign(buyer):
    return c.Campaign(
        at=0, campaign="other", buyer=buyer, models=(c.CampaignModel(model="m"),),
        latency_budget_us=1, max_unit_price=1,
    )  # fmt: skip


# Name of the case → (command, the senders it is meant for). Whoever is not named must be refused.
_ADMIN = {"admin"}
RARE = {
    "operator": (c.Operator(at=0, operator="late"), _ADMIN),
    "operator again": (c.Operator(at=0, operator="lantern", group="g"), _ADMIN),
    "buyer": (c.Buyer(at=0, buyer="later"), _ADMIN),
    "deposit": (c.Deposit(at=0, role="buyer", member="acme", transfer=9, amount=1), _ADMIN),
    "withdraw": (c.Withdraw(at=0, role="buyer", member="acme", transfer=10, amount=1), _ADMIN),
    "rules": (c.Rules(at=0, take_rate_ppm=1), _ADMIN),
    "model": (
        c.Model(at=0, model="n", family="", params_m=1, context_limit=1, card_in=1, card_out=1),
        _ADMIN,
    ),
    "price_card": (c.PriceCard(at=0, model="m", band=5, card_in=1, card_out=1), _ADMIN),
    "metro": (c.Metro(at=0, metro="Rome", lat=0.0, lon=0.0, country="IT", population=1), _ADMIN),
    "site": (_site("lantern/two"), _ADMIN),
    "site of another": (_site("beacon/two"), set()),
    "site without owner": (_site("two"), set()),
    "resolve": (c.Resolve(at=0, fill=999, amount=1), _ADMIN),
    "site_trust": (c.SiteTrust(at=0, site="lantern/one", trust=1), {"verifier"}),
    "halt of the exchange": (c.Halt(at=0, scope="exchange", by="admin"), _ADMIN),
    "halt for risk": (c.Halt(at=0, scope="model", name="m", by="risk"), _ADMIN),
    "halt by the verifier": (
        c.Halt(at=0, scope="site", name="beacon/one", by="verifier"),
        {"verifier"},
    ),
    "halt of a model by the verifier": (
        c.Halt(at=0, scope="model", name="m", by="verifier"),
        set(),
    ),
    "halt of oneself": (c.Halt(at=0, scope="operator", name="lantern", by="operator"), {"lantern"}),
    "halt of one's site": (
        c.Halt(at=0, scope="site", name="lantern/one", by="operator"),
        {"lantern"},
    ),
    "halt of the other buyer": (c.Halt(at=0, scope="buyer", name="bolt", by="buyer"), {"bolt"}),
    "halt in another's name": (c.Halt(at=0, scope="buyer", name="acme", by="operator"), set()),
    "resume of the exchange": (c.Resume(at=0, scope="exchange", by="admin"), _ADMIN),
    "resume of oneself": (
        c.Resume(at=0, scope="operator", name="lantern", by="operator"),
        {"lantern"},
    ),
    "deal": (
        c.Deal(at=0, deal="lantern/x", operator="lantern", buyers=("acme",)),
        {"lantern"},
    ),
    "deal under another's name": (
        c.Deal(at=0, deal="beacon/x", operator="lantern", buyers=("acme",)),
        set(),
    ),
    "deal without owner": (c.Deal(at=0, deal="x", operator="lantern", buyers=()), set()),
    "adapter of an operator": (c.Adapter(at=0, adapter="lantern/a", model="m"), {"lantern"}),
    "adapter of a buyer": (c.Adapter(at=0, adapter="acme/a", model="m"), {"acme"}),
    "adapter without owner": (c.Adapter(at=0, adapter="a", model="m"), set()),
    "campaign": (_campaign("acme"), {"acme"}),
    "campaign of the other": (_campaign("bolt"), {"bolt"}),
    "campaign_end": (c.CampaignEnd(at=0, buyer="acme", campaign="other"), {"acme"}),
    "clock": (c.Clock(at=0), set()),
    # Hot commands have frames; as orders they would pass by what frames are held to.
    "bid": (
        c.Bid(at=0, buyer="acme", bid=60, campaign="chat", origin="Berlin", tokens_in=1, tokens_out=1),
        set(),
    ),
    "bid_cancel": (c.BidCancel(at=0, buyer="acme", bid=2), set()),
    "bids_cancel": (c.BidsCancel(at=0, buyer="acme"), set()),
    "release": (c.Release(at=0, buyer="acme", fill=1), set()),
    "complete": (
        c.Complete(at=0, role="buyer", member="acme", fill=1, tokens_in=0, tokens_out=0, ttft_us=0),
        set(),
    ),
    "offer": (
        c.Offer(
            at=0, site="lantern/one", offer=9, model="m", hardware="l4", ask_in=1, ask_out=1,
            slots=1, ttft_us=1, context_limit=1, ttl_us=1,
        ),
        set(),
    ),
    "refresh": (
        c.Refresh(
            at=0, site="lantern/one", offer=1, slots=1, fills_seen=0, ttft_us=1,
            prefill_ns_per_token=0, tokens_per_second=0, ttl_us=1,
        ),
        set(),
    ),
    "renew": (c.Renew(at=0, site="lantern/one", ttl_us=1), set()),
    "offer_cancel": (c.OfferCancel(at=0, site="lantern/one", offer=1), set()),
    "offers_cancel": (c.OffersCancel(at=0, site="lantern/one"), set()),
    "start": (c.Start(at=0, operator="lantern", fill=1), set()),
    "decline": (c.Decline(at=0, operator="lantern", fill=1, reason="failed"), set()),
    "rtt": (c.Rtt(at=0, site="lantern/one", metro="Berlin", p99_us=1), set()),
}  # fmt: skip
