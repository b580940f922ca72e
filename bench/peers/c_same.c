/* The core's own search, price and slot-taking (matching_core/kernels: search.py, views.py, index.py,
 * rules.py, bid.py), word for word in C, on the core's own tables: `s` is a copy of its vector of
 * scalars and addresses. Every name in capitals is a constant of the core, defined before this text at
 * bench time, so a layout that moves a word moves it here.
 *
 * Left out, all of which the core does as well: events, fills and their lists, money, expiries, leases,
 * reasons, bids that rest.
 */
#include <stdint.h>
#include <time.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

typedef struct { int64_t offer, price; } answer_t;
typedef const int64_t *row_t;

#define WORDS64(at) ((int64_t *)s[at])
#define BITS64(at) ((uint64_t *)s[at])
#define WORDS32(at) ((int32_t *)s[at])
#define BYTES(at) ((const uint8_t *)s[at])

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline void ask(const void *where) { __builtin_prefetch(where, 0, 3); }

/* ---------------------------------------------------------------- index.py */
static inline int64_t least_cost(int64_t tokens, int64_t lease)
{
    return (tokens >> 10) + (tokens >> 16) + (tokens >> 17) + (lease >> 20) + (lease >> 25) + (lease >> 26);
}

typedef struct { int64_t mix, of_mix, of_next; } mix_t;

static inline mix_t mix_of(int64_t in, int64_t out)
{
    if (in >= 4 * out) return (mix_t){0, in - 4 * out, out};
    if (in >= out) {
        const int64_t more = in - out;
        return (mix_t){1, more / 3, out - (more + 2) / 3};
    }
    if (out >= 4 * in) return (mix_t){3, in, out - 4 * in};
    const int64_t more = out - in;
    return (mix_t){2, in - (more + 2) / 3, more / 3};
}

static uint64_t forbidden_by(const int64_t *s, int64_t campaign)
{
    row_t c = WORDS64(CAMPAIGNS) + CAMPAIGN_ROW * campaign;
    int64_t bits = NOBODY;
    if (!c[CAMPAIGN_COLD]) bits |= COLD_START;
    bits |= c[CAMPAIGN_CAPABILITIES] << LACKS_BIT;
    if (c[CAMPAIGN_HARDWARE]) bits |= ~c[CAMPAIGN_HARDWARE] & ((INT64_C(1) << PRECISION_BIT) - 1);
    if (c[CAMPAIGN_PRECISIONS])
        bits |= (~c[CAMPAIGN_PRECISIONS] & ((INT64_C(1) << (CONTRACT_BIT - PRECISION_BIT)) - 1)) << PRECISION_BIT;
    if (c[CAMPAIGN_CONTRACTS])
        bits |= (~c[CAMPAIGN_CONTRACTS] & ((INT64_C(1) << (LACKS_BIT - CONTRACT_BIT)) - 1)) << CONTRACT_BIT;
    return (uint64_t)bits;
}

static inline uint64_t passing(const uint64_t *words, uint64_t fails)
{
    uint64_t found = 0;
#ifdef __AVX2__
    const __m256i mask = _mm256_set1_epi64x((int64_t)fails), none = _mm256_setzero_si256();
    for (int place = 0; place < BOARD; place += 4) {
        const __m256i four = _mm256_loadu_si256((const __m256i *)(words + place));
        const __m256i passes = _mm256_cmpeq_epi64(_mm256_and_si256(four, mask), none);
        found |= (uint64_t)_mm256_movemask_pd(_mm256_castsi256_pd(passes)) << place;
    }
#else
    for (int place = 0; place < BOARD; place++) found |= (uint64_t)((words[place] & fails) == 0) << place;
#endif
    return found;
}

static void new_version(int64_t *s, int64_t *shelf)
{
    s[VERSIONS] += 1;
    shelf[SHELF_VERSION] = s[VERSIONS] << 1;
    shelf[SHELF_WASTED] = 0;
    for (int board = 0; board <= BOARDS; board++) shelf[SHELF_FRESH + board] = 0;
}

static inline void look_at_fresh(int64_t *s, int64_t *shelf)
{
    shelf[SHELF_WASTED] += shelf[SHELF_FRESH_COUNT];
    if (shelf[SHELF_WASTED] >= WASTED_MAX) new_version(s, shelf);
}

static void take_slot(const int64_t *s, int64_t offer)
{
    int32_t *terms = WORDS32(ASKS) + ASK_NARROW * offer;
    if (--terms[ASK_AVAILABLE] > 0) return;
    const int64_t spot = WORDS32(OFFERS)[OFFER_NARROW * offer + OFFER_SPOT];
    if (spot == 0) return;
    const int64_t shelf = spot / SHELF_PLACES, place = spot - SHELF_PLACES * shelf;
    BITS64(WORDS)[spot] |= SOLD_OUT;
    BITS64(SHELVES)[SHELF_ROW * shelf + SHELF_LIVE + (place >> 6)] &= ~(UINT64_C(1) << (place & 63));
}

/* ---------------------------------------------------------------- views.py */
static void forget_all(int64_t *s)
{
    int64_t *ranges = WORDS64(VIEW_RANGES) + VIEW_RANGE_ROW;
    for (int64_t word = 0; word < s[CAMPAIGN_COUNT] * VIEW_RANGE_ROW; word++) ranges[word] = 0;
    s[VIEW_FLUSHES] += 1;
}

static inline int64_t view_range(int64_t *s, int64_t campaign, int64_t place, int64_t lane)
{
    int64_t *range = WORDS64(VIEW_RANGES) + VIEW_RANGE_ROW * campaign
        + 2 * (LANES_PER_MODEL * place + (lane & 1));
    const int64_t needed = WORDS64(LANES)[LANE_WORDS * lane + LANE_SHELVES];
    if (range[1] < needed) {
        int64_t room = 4;
        while (room < needed) room *= 2;
        int64_t first = s[VIEW_ROWS];
        if (first + room > s[VIEWS + 1]) {
            forget_all(s);
            first = 1;
        }
        s[VIEW_ROWS] = first + room;
        for (int64_t row = first; row < first + room; row++) WORDS64(VIEWS)[VIEW_ROW * row + VIEW_VERSION] = 0;
        range[0] = first;
        range[1] = room;
    }
    return range[0];
}

static void make_view(const int64_t *s, int64_t campaign, uint64_t *view, int64_t shelf, uint64_t version)
{
    const uint64_t fails = forbidden_by(s, campaign);
    const uint64_t *words = BITS64(WORDS) + SHELF_PLACES * shelf;
    const int32_t *sites = WORDS32(SHELF_SITES) + SHELF_PLACES * shelf;
    const uint8_t *rules = BYTES(SITE_RULES) + s[SITE_CAPACITY] * campaign;
    for (int board = 0; board < BOARDS; board++) {
        uint64_t left = passing(words + BOARD * board, fails), passed = left;
        for (; left; left &= left - 1) {
            const int bit = __builtin_ctzll(left);
            passed &= ~((uint64_t)(rules[sites[BOARD * board + bit]] != 0) << bit);
        }
        view[board] = passed;
    }
    view[VIEW_VERSION] = version;
}

/* ---------------------------------------------------------------- rules.py */
static inline int64_t price_of(row_t bid, int64_t in, int64_t out, int64_t second)
{
    return ceil_div(bid[REST_TOKENS_IN] * in + bid[REST_TOKENS_OUT] * out, 1000)
        + ceil_div(second * bid[REST_LEASE_US], 1000000);
}

static int site_peers(const int64_t *s, row_t site, int64_t asn)
{
    if (asn == 0) return 0;
    for (int64_t place = 0; place < site[SITE_ASN_COUNT]; place++)
        if (WORDS64(ASNS)[site[SITE_ASN_FIRST] + place] == asn) return 1;
    return 0;
}

static int adapter_resident(const int64_t *s, int64_t adapter_set, int64_t adapter)
{
    row_t set = WORDS64(SETS) + SET_ROW * adapter_set;
    for (int64_t place = 0; place < set[SET_SIZE]; place++)
        if (WORDS64(SET_ITEMS)[set[SET_FIRST] + place] == adapter) return 1;
    return 0;
}

static inline int attributes_pass(row_t campaign, int64_t attributes)
{
    const int64_t wanted = campaign[CAMPAIGN_CAPABILITIES];
    if (((attributes >> CAPABILITIES_SHIFT) & wanted) != wanted) return 0;
    int64_t allowed = campaign[CAMPAIGN_HARDWARE];
    if (allowed && !(allowed >> (attributes & 255) & 1)) return 0;
    allowed = campaign[CAMPAIGN_PRECISIONS];
    if (allowed && !(allowed >> (attributes >> 8 & 255) & 1)) return 0;
    allowed = campaign[CAMPAIGN_CONTRACTS];
    return !allowed || (allowed >> (attributes >> 16 & 255) & 1);
}

typedef struct { int64_t score, latency, cost; } judged_t;

static inline int judge(const int64_t *s, row_t bid, row_t campaign, int64_t offer, int64_t markdown,
                        int site_rule, int known, int peers, int64_t path_us, judged_t *found)
{
    row_t asks = WORDS64(ASKS) + ASK_ROW * offer;
    const int32_t *terms = (const int32_t *)asks;
    if (terms[ASK_DEAL]) {
        const uint64_t *named = BITS64(DEAL_BUYERS) + s[BUYER_WORDS] * terms[ASK_DEAL];
        if (!(named[bid[REST_BUYER] >> 6] >> (bid[REST_BUYER] & 63) & 1)) return 0;
    }
    if (terms[ASK_AVAILABLE] < 1) return 0;
    int64_t start_us = 0;
    const int32_t *offers = WORDS32(OFFERS) + OFFER_NARROW * offer;
    if (terms[ASK_STARTS]) start_us = offers[OFFER_COLD];
    if (bid[REST_ADAPTER]) {
        if (WORDS64(ADAPTERS)[ADAPTER_ROW * bid[REST_ADAPTER]] != terms[ASK_MODEL]) return 0;
        if (!adapter_resident(s, offers[OFFER_ADAPTERS], bid[REST_ADAPTER])) {
            if (offers[OFFER_LOAD] == 0) return 0;
            start_us += offers[OFFER_LOAD];
        }
    }
    if (start_us > 0 && !campaign[CAMPAIGN_COLD]) return 0;
    if (site_rule) return 0;
    if (!known && !attributes_pass(campaign, terms[ASK_ATTRIBUTES])) return 0;
    if (terms[ASK_SPEED] < campaign[CAMPAIGN_SPEED]) return 0;
    if (!peers) return 0;
    if (bid[REST_TOKENS_IN] + bid[REST_TOKENS_OUT] > terms[ASK_CONTEXT]) return 0;
    if (path_us < 0) return 0;
    found->latency = path_us + terms[ASK_TTFT] + bid[REST_TOKENS_IN] * terms[ASK_PREFILL] / 1000 + start_us;
    if (found->latency > bid[REST_BUDGET]) return 0;
    found->cost = price_of(bid, asks[ASK_IN], asks[ASK_OUT], asks[ASK_SECOND]);
    found->score = bid[REST_PRICE] - markdown - found->cost
        - ceil_div(campaign[CAMPAIGN_TIME_VALUE] * found->latency, 1000);
    return found->score >= 0;
}

/* ---------------------------------------------------------------- search.py */
typedef struct { int64_t offer, score, latency, cost, group; } best_t;

static inline int better(const int64_t *s, int64_t offer, const judged_t *it, const best_t *than)
{
    if (it->score != than->score) return it->score > than->score;
    if (it->latency != than->latency) return it->latency < than->latency;
    row_t offers = WORDS64(OFFERS) + OFFER_PRIORITY;
    return offers[OFFER_ROW * offer] < offers[OFFER_ROW * than->offer];
}

static inline void ask_for(const int64_t *s, int64_t entry, int64_t first_view)
{
    const int64_t shelf = WORDS64(DIRECTORY)[ENTRY_ROW * entry + ENTRY_SHELF];
    ask(WORDS64(VIEWS) + VIEW_ROW * (first_view + (shelf >> 32)));
    ask(WORDS64(SHELVES) + SHELF_ROW * (shelf & 0xFFFFFFFF));
}

static inline int64_t bound_of(row_t line, const mix_t *m, int64_t lease_us)
{
    return least_cost(m->of_mix * line[m->mix] + m->of_next * line[m->mix + 1], lease_us * line[5]);
}

typedef struct { int64_t offer, site, bound, fresh; } survivor_t;

/* Put the offers of a shelf into `survivors` that are near and may matter; returns how many. */
static inline int survivors_of(const int64_t *s, row_t shelf, int64_t number, const uint64_t *view,
                               const int32_t *rtt, const uint64_t *near_sites, const mix_t *m, int64_t lease_us, int64_t ceiling,
                               int64_t to_beat, const best_t *winner, survivor_t *survivors)
{
    const uint64_t *open_sites = BITS64(OPEN_SITES);
    const int32_t *sites = WORDS32(SHELF_SITES) + SHELF_PLACES * number;
    const int32_t *rows = WORDS32(SHELF_OFFERS) + SHELF_PLACES * number;
    const uint64_t some = -(uint64_t)(shelf[SHELF_VERSION] & 1);
    int count = 0;
    for (int board = 0; board < BOARDS; board++) {
        const uint64_t fresh = (uint64_t)shelf[SHELF_FRESH + board];
        uint64_t word = (view[board] | (some & fresh)) & (uint64_t)shelf[SHELF_LIVE + board];
        if (word == 0) continue;
        row_t bounds = shelf + SHELF_BOARDS + BOARD_WORDS * board;
        const int64_t bound = ceiling - bound_of(bounds, m, lease_us);
        if (bound < to_beat || (bound < winner->score && bounds[BOARD_GROUP] == winner->group)) continue;
        for (; word; word &= word - 1) {
            const int bit = __builtin_ctzll(word);
            const int64_t site = sites[BOARD * board + bit];
            survivors[count] = (survivor_t){rows[BOARD * board + bit], site, bound, fresh >> bit & 1};
            count += (int)((near_sites[site >> 6] & open_sites[site >> 6]) >> (site & 63) & 1);
        }
    }
    for (int i = 0; i < count; i++) {
        ask(WORDS64(ASKS) + ASK_ROW * survivors[i].offer);
        ask(rtt + survivors[i].site);
        ask(WORDS64(SITES) + SITE_ROW * survivors[i].site);
    }
    return count;
}

/* Put the best offer and the best of another owner group into `winner` and `rival`; deals: no rival. */
static void search(int64_t *s, row_t bid, int deals, best_t *winner, best_t *rival)
{
    row_t campaign = WORDS64(CAMPAIGNS) + CAMPAIGN_ROW * bid[REST_CAMPAIGN];
    row_t sites = WORDS64(SITES);
    const uint8_t *site_rules = BYTES(SITE_RULES) + s[SITE_CAPACITY] * bid[REST_CAMPAIGN];
    const int32_t *rtt = WORDS32(RTT) + s[SITE_CAPACITY] * bid[REST_ORIGIN];
    const uint64_t *near_sites = BITS64(NEAR) + s[SITE_WORDS] * (BANDS * bid[REST_ORIGIN] + bid[REST_BAND]);
    const int64_t lease_us = bid[REST_LEASE_US], time_value = campaign[CAMPAIGN_TIME_VALUE];
    const mix_t m = mix_of(bid[REST_TOKENS_IN], bid[REST_TOKENS_OUT]);
    survivor_t survivors[SHELF_PLACES + 1];
    int64_t to_beat = 0;
    for (int64_t place = 0; place < campaign[CAMPAIGN_MODEL_COUNT]; place++) {
        const int64_t model = campaign[CAMPAIGN_MODELS + place], lane = LANES_PER_MODEL * model + deals;
        row_t at_lane = WORDS64(LANES) + LANE_WORDS * lane;
        if (at_lane[LANE_COUNT] == 0 || WORDS64(MODELS)[MODEL_ROW * model + MODEL_HALTS]) continue;
        const int64_t markdown = campaign[CAMPAIGN_MARKDOWNS + place], ceiling = bid[REST_PRICE] - markdown;
        const int64_t first_view = view_range(s, bid[REST_CAMPAIGN], place, lane);
        const int64_t first = at_lane[LANE_FIRST], end = first + at_lane[LANE_COUNT];
        for (int64_t entry = first; entry < first + AHEAD && entry < end; entry++) ask_for(s, entry, first_view);
        for (int64_t entry = first; entry < end; entry++) {
            row_t line = WORDS64(DIRECTORY) + ENTRY_ROW * entry;
            if (ceiling - bound_of(line, &m, lease_us) < to_beat) break;
            if (entry + AHEAD < end) ask_for(s, entry + AHEAD, first_view);
            const int64_t number = line[ENTRY_SHELF] & 0xFFFFFFFF;
            int64_t *shelf = WORDS64(SHELVES) + SHELF_ROW * number;
            if (shelf[SHELF_VERSION] & 1) look_at_fresh(s, shelf);
            const uint64_t version = (uint64_t)shelf[SHELF_VERSION] >> 1;
            uint64_t *view = BITS64(VIEWS) + VIEW_ROW * (first_view + (line[ENTRY_SHELF] >> 32));
            if (view[VIEW_VERSION] != version) make_view(s, bid[REST_CAMPAIGN], view, number, version);
            const int count = survivors_of(s, shelf, number, view, rtt, near_sites, &m, lease_us, ceiling,
                                           to_beat, winner, survivors);
            for (int i = 0; i < count; i++) {
                const survivor_t *found = survivors + i;
                if (found->bound < to_beat) continue;
                row_t site = sites + SITE_ROW * found->site;
                const int64_t rtt_us = (int64_t)rtt[found->site] >> 1, group = site[SITE_GROUP];
                const int64_t away = (time_value * rtt_us) >> 10, here = found->offer;
                if (found->bound - away < to_beat) continue;
                if (found->bound - away < winner->score && group == winner->group) continue;
                row_t asks = WORDS64(ASKS) + ASK_ROW * here;
                const int64_t bound = ceiling - away
                    - price_of(bid, asks[ASK_IN], asks[ASK_OUT], asks[ASK_SECOND]);
                if (bound < to_beat || (bound < winner->score && group == winner->group)) continue;
                const int site_rule = found->fresh ? site_rules[found->site] : 0;
                const int peers = !campaign[CAMPAIGN_PEERING] || site_peers(s, site, bid[REST_ASN]);
                judged_t it;
                if (!judge(s, bid, campaign, here, markdown, site_rule, !found->fresh, peers,
                           rtt_us + site[SITE_MARGIN], &it))
                    continue;
                const best_t offer = {here, it.score, it.latency, it.cost, group};
                if (winner->offer == 0 || better(s, here, &it, winner)) {
                    if (winner->offer && winner->group != group) *rival = *winner;
                    *winner = offer;
                } else if (group != winner->group && (rival->offer == 0 || better(s, here, &it, rival))) {
                    *rival = offer;
                }
                if (deals) to_beat = winner->score;
                else if (rival->offer) to_beat = rival->score;
            }
        }
    }
}

/* ---------------------------------------------------------------- bid.py */
static answer_t auction(int64_t *s, row_t bid)
{
    best_t winner = {0}, rival = {0}, deal = {0}, none = {0};
    search(s, bid, 0, &winner, &rival);
    if (s[DEALS_STANDING]) search(s, bid, 1, &deal, &none);
    int64_t price = 0, gain = -1;
    if (winner.offer) {
        const int64_t value = winner.score + winner.cost, model = WORDS32(ASKS)[ASK_NARROW * winner.offer + ASK_MODEL];
        row_t cards = WORDS64(MODELS) + MODEL_ROW * model + MODEL_CARDS + 3 * bid[REST_BAND];
        const int64_t card = price_of(bid, cards[0], cards[1], cards[2]), capped = value < card ? value : card;
        price = winner.cost > capped ? winner.cost : capped;
        if (rival.offer && value - rival.score < price) price = value - rival.score;
        gain = value - price;
    }
    if (deal.offer && deal.score >= gain) return (answer_t){deal.offer, deal.cost};
    return (answer_t){winner.offer, price};
}

/* Answer n bids (rows of RESTS_TABLE); `take`: take the winners' slots; else, ns[i] is the time of bid i. */
void answer_all(int64_t *s, const int64_t *bids, int64_t n, answer_t *answers, int64_t *ns, int64_t take)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int64_t i = 0; i < n; i++) {
        answers[i] = auction(s, bids + REST_ROW * i);
        if (take && answers[i].offer) take_slot(s, answers[i].offer);
        if (!ns) continue;
        clock_gettime(CLOCK_MONOTONIC, &after);
        ns[i] = 1000000000 * (after.tv_sec - before.tv_sec) + after.tv_nsec - before.tv_nsec;
        before = after;
    }
}
