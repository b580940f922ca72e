"""A small market on the fake exchange: one operator, one site, one model, one buyer with money."""

from schemas import commands as c

OPERATOR = "lantern"
SITE = "lantern/berlin-01"
METRO = "Berlin"
MODEL = "smollm2-135m"
BUYER = "acme"


def found(exchange, endpoint="", endpoint_sha256=""):
    """Say all that an admin and a verifier would."""
    for command in (
        c.Operator(at=0, operator=OPERATOR, control=("DE",)),
        c.Buyer(at=0, buyer=BUYER),
        c.Deposit(at=0, role="buyer", member=BUYER, transfer=1, amount=10**12),
        c.Model(
            at=0, model=MODEL, family="smollm2", params_m=135, context_limit=8192,
            card_in=100_000, card_out=200_000,
        ),
        c.Metro(at=0, metro=METRO, lat=52.5, lon=13.4, country="DE", population=3_700_000),
        site(endpoint, endpoint_sha256),
        c.Rtt(at=0, site=SITE, metro=METRO, p99_us=2_000),
    ):  # fmt: skip
        exchange.apply(command)


def site(endpoint="", endpoint_sha256=""):
    return c.Site(
        at=0, site=SITE, operator=OPERATOR, tier="metro_colo", lat=52.5, lon=13.4, country="DE",
        data_countries=("DE",), endpoint=endpoint, endpoint_sha256=endpoint_sha256,
    )  # fmt: skip


def offer(number=1, **fields):
    plain = {
        "at": 0, "site": SITE, "offer": number, "model": MODEL, "hardware": "cpu",
        "ask_in": 50_000, "ask_out": 100_000, "slots": 4, "ttft_us": 200_000,
        "context_limit": 512, "ttl_us": 60_000_000, "capabilities": ("streaming",),
    }  # fmt: skip
    return c.Offer(**(plain | fields))


def campaign(name="chat", **fields):
    plain = {
        "at": 0, "campaign": name, "buyer": BUYER,
        "models": (c.CampaignModel(model=MODEL),), "latency_budget_us": 5_000_000,
        "max_unit_price": 1_000_000,
    }  # fmt: skip
    return c.Campaign(**(plain | fields))
