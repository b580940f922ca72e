"""The rules that depend on campaign and site alone, compiled into a byte and a bit (MARKET.md §5, 4–11).

A row of bytes per campaign says which rule each site fails first, 0 where it passes all, and a row of
bits which sites pass. They are made when the campaign is registered and again for whatever a change of
a site, an operator or a buyer touches.
"""

import numpy as np

from matching_core import columns as c
from matching_core.jit import Array, bits_table, byte_table, inner, kernel, table
from matching_core.kernels.index import freshen_site
from matching_core.kernels.rules import (
    CERTIFICATION,
    DATA_RESIDENCY,
    ELIGIBLE,
    OPERATOR,
    OWN,
    RESIDENCY,
    SOVEREIGNTY,
    TIER,
    TRUST,
    has_bit,
)
from matching_core.kernels.stages import forget_stages


@inner
def all_allowed(
    countries: Array, row: int, word: int, allowed: Array, campaign: int, at: int
) -> bool:
    """Tell whether every country of one set is in another."""
    for place in range(c.COUNTRY_WORDS):
        if countries[row, word + place] & ~allowed[campaign, at + place] != 0:
            return False
    return True


@inner
def site_rule(s: Array, campaign: int, site: int) -> int:
    """Return the first of rules 4 to 11 that a site fails for a campaign, or 0."""
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    sites = table(s, c.SITES, c.SITE_ROW)
    operators = table(s, c.OPERATORS, c.OPERATOR_ROW)
    buyers = table(s, c.BUYERS, c.BUYER_ROW)
    operator = sites[site, c.SITE_OPERATOR]
    if sites[site, c.SITE_GROUP] == buyers[campaigns[campaign, c.CAMPAIGN_BUYER], c.BUYER_GROUP]:
        return OWN
    rules_set = campaigns[campaign, c.CAMPAIGN_RULES_SET]
    if rules_set & c.RESIDENCY_SET:
        country = sites[site, c.SITE_COUNTRY]
        word = campaigns[campaign, c.CAMPAIGN_RESIDENCY + (country >> 6)]
        if country == 0 or (word >> (country & 63)) & 1 == 0:
            return RESIDENCY
    if rules_set & c.DATA_SET and (
        sites[site, c.SITE_DATA_COUNT] == 0
        or not all_allowed(sites, site, c.SITE_DATA, campaigns, campaign, c.CAMPAIGN_DATA)
    ):
        return DATA_RESIDENCY
    if rules_set & c.SOVEREIGNTY_SET and (
        operators[operator, c.OPERATOR_CONTROL_COUNT] == 0
        or not all_allowed(
            operators, operator, c.OPERATOR_CONTROL, campaigns, campaign, c.CAMPAIGN_SOVEREIGNTY
        )
    ):
        return SOVEREIGNTY
    wanted = campaigns[campaign, c.CAMPAIGN_CERTIFICATIONS]
    if sites[site, c.SITE_CERTIFICATIONS] & wanted != wanted:
        return CERTIFICATION
    tiers = campaigns[campaign, c.CAMPAIGN_TIERS]
    if tiers != 0 and (tiers >> sites[site, c.SITE_TIER]) & 1 == 0:
        return TIER
    listed = has_bit(bits_table(s, c.CAMPAIGN_OPERATORS, s[c.OPERATOR_WORDS]), campaign, operator)
    if listed != (campaigns[campaign, c.CAMPAIGN_ALLOWS] != 0):
        return OPERATOR
    if sites[site, c.SITE_TRUST] < campaigns[campaign, c.CAMPAIGN_TRUST]:
        return TRUST
    return ELIGIBLE


@inner
def note_rule(s: Array, campaign: int, site: int, rule: int) -> None:
    """Note which rule a site fails first for a campaign."""
    byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])[campaign, site] = rule
    admitted = bits_table(s, c.CAMPAIGN_SITES, s[c.SITE_WORDS])
    bit = np.uint64(1) << np.uint64(site & 63)
    if rule == ELIGIBLE:
        admitted[campaign, site >> 6] |= bit
    else:
        admitted[campaign, site >> 6] &= ~bit


@kernel
def compile_campaign(s: Array, campaign: int) -> int:
    """Note for all sites which rule of a campaign they fail first; views of it are made anew."""
    ranges = table(s, c.VIEW_RANGES, c.VIEW_RANGE_ROW)
    for site in range(1, s[c.SITE_COUNT] + 1):
        note_rule(s, campaign, site, site_rule(s, campaign, site))
    for word in range(c.VIEW_RANGE_ROW):
        ranges[campaign, word] = 0
    forget_stages(s, campaign)
    return campaign


@kernel
def compile_site(s: Array, site: int) -> int:
    """Note for all campaigns that stand which of their rules a site fails first.

    Where one judges it otherwise than before, its offers are fresh to all. Returns 1 then.
    """
    campaigns = table(s, c.CAMPAIGNS, c.CAMPAIGN_ROW)
    rules = byte_table(s, c.SITE_RULES, s[c.SITE_CAPACITY])
    differs = 0
    for campaign in range(1, s[c.CAMPAIGN_COUNT] + 1):
        if campaigns[campaign, c.CAMPAIGN_STANDING] == 0:
            continue
        rule = site_rule(s, campaign, site)
        if (rule == ELIGIBLE) != (rules[campaign, site] == ELIGIBLE):
            differs = 1
        if rule != rules[campaign, site]:
            forget_stages(s, campaign)
        note_rule(s, campaign, site, rule)
    if differs != 0:
        freshen_site(s, site)
    return differs


@kernel
def rule_of(s: Array, campaign: int, site: int) -> int:
    """Return what `site_rule` does, to Python."""
    return site_rule(s, campaign, site)
