/* The core's own search, price and slot-taking (matching_core/kernels/bid.py), word for word in C, on
 * the core's own tables: `s` is a copy of its vector of scalars and addresses. Every name in capitals
 * is a constant of matching_core/columns.py, defined before this text at bench time, so a layout that
 * moves a word moves it here.
 *
 * Left out, all of which the core does as well: events, fills and their lists, money, expiries, leases,
 * reasons, bids that rest. REASON_* numbers do not matter here: a rule fails or it does not.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>

typedef struct { int64_t offer, price; } answer_t;
typedef const int64_t *row_t;

#define TABLE(at, words) ((int64_t(*)[words])s[at])
#define SMALL(at) ((const int32_t *)s[at])
#define BITS(at) ((const uint64_t *)s[at])

static const int64_t NO_BOUND = INT64_C(1) << 62;

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int has_bit(const uint64_t *bits, int64_t words, int64_t row, int64_t number)
{
    return bits[row * words + (number >> 6)] >> (number & 63) & 1;
}

static inline int better(int64_t score, int64_t latency, int64_t priority, int64_t than_score,
                         int64_t than_latency, int64_t than_priority)
{
    if (score != than_score) return score > than_score;
    if (latency != than_latency) return latency < than_latency;
    return priority < than_priority;
}

static int64_t find_offers(const int64_t *s, row_t bid, int64_t model, int64_t ceiling)
{
    int64_t(*found)[FOUND_ROW] = TABLE(FOUND, FOUND_ROW);
    const int64_t(*asks)[ASK_ROW] = (const int64_t(*)[ASK_ROW])s[ASKS];
    const int64_t words = s[SITE_WORDS];
    const uint64_t *model_sites = BITS(MODEL_SITES) + model * words;
    const uint64_t *campaign_sites = BITS(CAMPAIGN_SITES) + bid[REST_CAMPAIGN] * words;
    const uint64_t *open_sites = BITS(OPEN_SITES);
    const uint64_t *near = BITS(NEAR) + (BANDS * bid[REST_ORIGIN] + bid[REST_BAND]) * words;
    const int32_t *pairs = SMALL(PAIRS) + model * s[SITE_CAPACITY], *chain = SMALL(CHAIN);
    int64_t count = 0;
    for (int64_t word = 0; word < (s[SITE_COUNT] >> 6) + 1; word++) {
        uint64_t bits = model_sites[word] & campaign_sites[word] & near[word] & open_sites[word];
        while (bits) {
            const int64_t site = 64 * word + __builtin_ctzll(bits);
            bits &= bits - 1;
            for (int64_t offer = pairs[site]; offer; offer = chain[offer]) {
                found[count][FOUND_OFFER] = offer;
                found[count][FOUND_SITE] = site;
                count++;
            }
        }
    }
    const int64_t tokens_in = bid[REST_TOKENS_IN], tokens_out = bid[REST_TOKENS_OUT];
    const int64_t lease_us = bid[REST_LEASE_US];
    for (int64_t place = 0; place < count; place++) {
        row_t ask = asks[found[place][FOUND_OFFER]];
        const int64_t tokens = tokens_in * ask[ASK_IN] + tokens_out * ask[ASK_OUT];
        const int64_t lease = ask[ASK_SECOND] * lease_us;
        const int64_t least = (tokens >> 10) + (tokens >> 16) + (tokens >> 17) + (lease >> 20)
            + (lease >> 25) + (lease >> 26);
        found[place][FOUND_BOUND] = ask[ASK_DEAL] ? NO_BOUND : ceiling - least;
    }
    return count;
}

static int attributes_fail(row_t campaign, int64_t attributes)
{
    const int64_t wanted = campaign[CAMPAIGN_CAPABILITIES];
    if (((attributes >> CAPABILITIES_SHIFT) & wanted) != wanted) return 1;
    int64_t allowed = campaign[CAMPAIGN_HARDWARE];
    if (allowed && !(allowed >> (attributes & 255) & 1)) return 1;
    allowed = campaign[CAMPAIGN_PRECISIONS];
    if (allowed && !(allowed >> (attributes >> 8 & 255) & 1)) return 1;
    allowed = campaign[CAMPAIGN_CONTRACTS];
    return allowed && !(allowed >> (attributes >> 16 & 255) & 1);
}

static int resident(const int64_t *s, int64_t set, int64_t adapter)
{
    row_t sets = TABLE(SETS, SET_ROW)[set], items = (row_t)s[SET_ITEMS];
    for (int64_t i = 0; i < sets[SET_SIZE]; i++)
        if (items[sets[SET_FIRST] + i] == adapter) return 1;
    return 0;
}

static int site_peers(const int64_t *s, row_t site, int64_t asn)
{
    row_t asns = (row_t)s[ASNS];
    if (!asn) return 0;
    for (int64_t i = 0; i < site[SITE_ASN_COUNT]; i++)
        if (asns[site[SITE_ASN_FIRST] + i] == asn) return 1;
    return 0;
}

static answer_t auction(int64_t *s, row_t bid, int take)
{
    int64_t(*asks)[ASK_ROW] = TABLE(ASKS, ASK_ROW);
    const int64_t(*offers)[OFFER_ROW] = (const int64_t(*)[OFFER_ROW])s[OFFERS];
    const int64_t(*sites)[SITE_ROW] = (const int64_t(*)[SITE_ROW])s[SITES];
    const int64_t(*models)[MODEL_ROW] = (const int64_t(*)[MODEL_ROW])s[MODELS];
    const int64_t(*found)[FOUND_ROW] = (const int64_t(*)[FOUND_ROW])s[FOUND];
    row_t campaign = TABLE(CAMPAIGNS, CAMPAIGN_ROW)[bid[REST_CAMPAIGN]];
    const int32_t *rtt = SMALL(RTT) + bid[REST_ORIGIN] * s[SITE_CAPACITY];
    const int64_t tokens_in = bid[REST_TOKENS_IN], tokens_out = bid[REST_TOKENS_OUT];
    int64_t winner = 0, rival = 0, deal = 0, winner_group = 0, to_beat = -NO_BOUND;
    int64_t winner_score = 0, winner_latency = 0, winner_cost = 0, rival_score = 0, rival_latency = 0;
    int64_t deal_score = 0, deal_latency = 0, deal_cost = 0;
    for (int64_t m = 0; m < campaign[CAMPAIGN_MODEL_COUNT]; m++) {
        const int64_t model = campaign[CAMPAIGN_MODELS + m], markdown = campaign[CAMPAIGN_MARKDOWNS + m];
        if (models[model][MODEL_HALTS]) continue;
        const int64_t count = find_offers(s, bid, model, bid[REST_PRICE] - markdown);
        for (int64_t entry = 0; entry < count; entry++) {
            const int64_t bound = found[entry][FOUND_BOUND];
            if (bound < to_beat) continue;
            const int64_t here = found[entry][FOUND_OFFER];
            row_t ask = asks[here], offer = offers[here], site = sites[found[entry][FOUND_SITE]];
            const int64_t group = site[SITE_GROUP];
            if (winner && group == winner_group && bound < winner_score) continue;
            if (attributes_fail(campaign, ask[ASK_ATTRIBUTES])) continue;
            if (ask[ASK_DEAL] && !has_bit(BITS(DEAL_BUYERS), s[BUYER_WORDS], ask[ASK_DEAL], bid[REST_BUYER]))
                continue;
            if (ask[ASK_AVAILABLE] < 1) continue;
            int64_t start = offer[OFFER_COLD];
            const int64_t adapter = bid[REST_ADAPTER];
            if (adapter) {
                if (TABLE(ADAPTERS, ADAPTER_ROW)[adapter][0] != offer[OFFER_MODEL]) continue;
                if (!resident(s, offer[OFFER_ADAPTERS], adapter)) {
                    if (!offer[OFFER_LOAD]) continue;
                    start += offer[OFFER_LOAD];
                }
            }
            if (start > 0 && !campaign[CAMPAIGN_COLD]) continue;
            if (offer[OFFER_SPEED] < campaign[CAMPAIGN_SPEED]) continue;
            if (campaign[CAMPAIGN_PEERING] && !site_peers(s, site, bid[REST_ASN])) continue;
            if (tokens_in + tokens_out > offer[OFFER_CONTEXT]) continue;
            const int64_t latency = (rtt[found[entry][FOUND_SITE]] >> 1) + site[SITE_MARGIN]
                + ask[ASK_TTFT] + tokens_in * ask[ASK_PREFILL] / 1000 + start;
            if (latency > bid[REST_BUDGET]) continue;
            const int64_t cost = ceil_div(tokens_in * ask[ASK_IN] + tokens_out * ask[ASK_OUT], 1000)
                + ceil_div(ask[ASK_SECOND] * bid[REST_LEASE_US], 1000000);
            const int64_t score = bid[REST_PRICE] - markdown - cost
                - ceil_div(campaign[CAMPAIGN_TIME_VALUE] * latency, 1000);
            if (score < 0) continue;
            const int64_t priority = offer[OFFER_PRIORITY];
            if (ask[ASK_DEAL]) {
                if (!deal || better(score, latency, priority, deal_score, deal_latency, offers[deal][OFFER_PRIORITY]))
                    deal = here, deal_score = score, deal_latency = latency, deal_cost = cost;
            } else if (!winner || better(score, latency, priority, winner_score, winner_latency, offers[winner][OFFER_PRIORITY])) {
                if (winner && winner_group != group)
                    rival = winner, rival_score = winner_score, rival_latency = winner_latency;
                winner = here, winner_score = score, winner_latency = latency, winner_cost = cost;
                winner_group = group;
            } else if (group != winner_group && (!rival || better(score, latency, priority, rival_score, rival_latency, offers[rival][OFFER_PRIORITY]))) {
                rival = here, rival_score = score, rival_latency = latency;
            }
            if (rival) to_beat = rival_score;
        }
    }
    int64_t price = 0, gain = -1;
    if (winner) {
        row_t card_row = models[offers[winner][OFFER_MODEL]] + MODEL_CARDS + 3 * bid[REST_BAND];
        const int64_t value = winner_score + winner_cost;
        const int64_t card = ceil_div(tokens_in * card_row[0] + tokens_out * card_row[1], 1000)
            + ceil_div(card_row[2] * bid[REST_LEASE_US], 1000000);
        const int64_t capped = value < card ? value : card;
        price = winner_cost > capped ? winner_cost : capped;
        if (rival && value - rival_score < price) price = value - rival_score;
        gain = value - price;
    }
    if (deal && deal_score >= gain) winner = deal, price = deal_cost;
    if (winner && take) asks[winner][ASK_AVAILABLE]--;
    return (answer_t){winner, price};
}

/* Auction n bids, one unit each; ns[i] is the time of bid i, unless ns is 0. With `take` the winner's slot is taken. */
void answer_all(int64_t *s, const int64_t *bids, int64_t n, answer_t *answers, int64_t *ns, int64_t take)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int64_t i = 0; i < n; i++) {
        answers[i] = auction(s, bids + i * REST_ROW, (int)take);
        if (!ns) continue;
        clock_gettime(CLOCK_MONOTONIC, &after);
        ns[i] = 1000000000 * (after.tv_sec - before.tv_sec) + after.tv_nsec - before.tv_nsec;
        before = after;
    }
}
