/* The core's own search, price and slot-taking (matching_core/kernels: search.py, views.py, index.py,
 * few.py, near.py, rules.py, bid.py), word for word in C, on the core's own tables: `s` is a copy of its vector of
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
    WORDS64(DIRECTORY)[ENTRY_ROW * shelf[SHELF_ENTRY] + ENTRY_VERSION] = shelf[SHELF_VERSION];
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
    view[VIEW_VERSION] = version & ~UINT64_C(1);
    int count = 0;
    for (int board = 0; board < BOARDS; board++) count += __builtin_popcountll(view[board]);
    if (count > VIEW_LIST || s[SITE_COUNT] >= 1 << (31 - PLACE_BITS)) return;
    int32_t listed[VIEW_LIST] = {0};
    count = 0;
    for (int board = 0; board < BOARDS; board++)
        for (uint64_t left = view[board]; left; left &= left - 1) {
            const int32_t at = BOARD * board + __builtin_ctzll(left);
            listed[count++] = sites[at] << PLACE_BITS | at;
        }
    for (int at = 0; at < VIEW_LIST; at++) ((int32_t *)view)[at] = listed[at];
    view[VIEW_VERSION] |= 1;
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

static inline int64_t bound_of(const int32_t *line, const mix_t *m, int64_t lease_us)
{
    return least_cost(m->of_mix * line[m->mix] + m->of_next * line[m->mix + 1], lease_us * line[5]);
}

typedef struct { int64_t offer, site, bound, known; } survivor_t;
enum { PLACE_MASK = (1 << PLACE_BITS) - 1 };

/* What a search has at hand; `near_sites`: row of NEAR for `band`, which only gets shorter. */
typedef struct {
    row_t bid, campaign;
    const int32_t *rtt;
    const uint64_t *near_rows, *near_sites, *open_sites;
    int64_t band, lease_us, time_value, ceiling, to_beat;
    mix_t m;
    survivor_t survivors[SURVIVORS_MAX + 1];
} search_t;

static inline int is_near(const search_t *it, int64_t site)
{
    return (int)((it->near_sites[site >> 6] & it->open_sites[site >> 6]) >> (site & 63) & 1);
}

static inline void ask_for_offer(const int64_t *s, const search_t *it, int64_t offer, int64_t site)
{
    ask(WORDS64(ASKS) + ASK_ROW * offer);
    ask(it->rtt + site);
    ask(WORDS64(SITES) + SITE_ROW * site);
}

static inline void set_band(const int64_t *s, search_t *it, int64_t band)
{
    it->band = band;
    it->near_sites = it->near_rows + s[SITE_WORDS] * band;
}

static inline void narrower(const int64_t *s, search_t *it, int64_t slack)
{
    static const int64_t bands_us[] = BANDS_US;
    int64_t band = it->band;
    while (band > 0 && (it->time_value * (bands_us[band - 1] + 1)) >> 10 > slack) band--;
    if (band != it->band) set_band(s, it, band);
}

/* Add what some boards of a shelf have that is near and may matter; from `*board` on, until it is enough. */
static inline int survivors_of(const int64_t *s, search_t *it, int found, row_t shelf, int64_t number,
                               const uint64_t *view, int *board, const best_t *winner)
{
    const int32_t *sites = WORDS32(SHELF_SITES) + SHELF_PLACES * number;
    const int32_t *rows = WORDS32(SHELF_OFFERS) + SHELF_PLACES * number;
    const uint64_t some = -(uint64_t)(shelf[SHELF_VERSION] & 1);
    int count = found;
    while (*board < BOARDS && count < GATHER) {
        const int here = (*board)++;
        const uint64_t fresh = some & (uint64_t)shelf[SHELF_FRESH + here];
        uint64_t word = (view[here] | fresh) & (uint64_t)shelf[SHELF_LIVE + here];
        if (word == 0) continue;
        row_t bounds = shelf + SHELF_BOARDS + BOARD_WORDS * here;
        const int64_t bound = it->ceiling
            - least_cost(it->m.of_mix * bounds[it->m.mix] + it->m.of_next * bounds[it->m.mix + 1],
                         it->lease_us * bounds[5]);
        if (bound < it->to_beat || (bound < winner->score && bounds[BOARD_GROUP] == winner->group)) continue;
        for (; word; word &= word - 1) {
            const int bit = __builtin_ctzll(word);
            const int64_t site = sites[BOARD * here + bit];
            it->survivors[count] = (survivor_t){rows[BOARD * here + bit], site, bound, fresh >> bit & 1};
            count += is_near(it, site);
        }
    }
    for (int i = found; i < count; i++) ask_for_offer(s, it, it->survivors[i].offer, it->survivors[i].site);
    return count;
}

static inline int survivors_listed(const int64_t *s, search_t *it, int found, int64_t shelf, const int32_t *listed,
                                   int64_t bound)
{
    int count = found;
    for (int at = 0; at < VIEW_LIST && listed[at]; at++) {
        const int64_t site = listed[at] >> PLACE_BITS;
        it->survivors[count] = (survivor_t){-(shelf << PLACE_BITS | (listed[at] & PLACE_MASK)), site, bound, 0};
        count += is_near(it, site);
    }
    for (int i = found; i < count; i++) {
        ask(WORDS32(SHELF_OFFERS) + SHELF_PLACES * shelf + (-it->survivors[i].offer & PLACE_MASK));
        ask(WORDS64(SHELVES) + SHELF_ROW * shelf);
    }
    return count;
}

static int survivors_fresh(const int64_t *s, search_t *it, int found, int64_t number, int64_t bound)
{
    row_t shelf = WORDS64(SHELVES) + SHELF_ROW * number;
    const int32_t *sites = WORDS32(SHELF_SITES) + SHELF_PLACES * number;
    const int32_t *rows = WORDS32(SHELF_OFFERS) + SHELF_PLACES * number;
    for (int board = 0; board < BOARDS; board++)
        for (uint64_t left = shelf[SHELF_FRESH + board] & shelf[SHELF_LIVE + board]; left; left &= left - 1) {
            const int place = BOARD * board + __builtin_ctzll(left);
            it->survivors[found] = (survivor_t){rows[place], sites[place], bound, FRESH};
            found += is_near(it, sites[place]);
        }
    return found;
}

static inline void settle_listed(const int64_t *s, search_t *it, int found)
{
    for (int i = 0; i < found; i++) {
        survivor_t *one = it->survivors + i;
        const int64_t spot = -one->offer;
        if (spot <= 0) continue;
        const int64_t number = spot >> PLACE_BITS, place = spot & PLACE_MASK;
        row_t shelf = WORDS64(SHELVES) + SHELF_ROW * number;
        uint64_t live = (uint64_t)shelf[SHELF_LIVE + (place >> 6)];
        if (shelf[SHELF_VERSION] & 1) live &= ~(uint64_t)shelf[SHELF_FRESH + (place >> 6)];
        if (!(live >> (place & 63) & 1)) {
            one->bound = -1;
            continue;
        }
        one->offer = WORDS32(SHELF_OFFERS)[SHELF_PLACES * number + place];
        ask_for_offer(s, it, one->offer, one->site);
    }
}

/* Add the offers of all sites that suit the bid, when those are few; -1 when they are not. */
static int survivors_at(const int64_t *s, search_t *it, int found, int64_t model, int64_t bound)
{
    const uint64_t *admitted = BITS64(CAMPAIGN_SITES) + s[SITE_WORDS] * it->bid[REST_CAMPAIGN];
    const uint64_t *offering = BITS64(MODEL_SITES) + s[SITE_WORDS] * model;
    const int32_t *stall_of = WORDS32(STALL_OF) + s[SITE_CAPACITY] * model;
    int64_t candidates[CANDIDATES_MAX][2];
    int count = 0;
    for (int64_t word = 0; word <= s[SITE_COUNT] >> 6; word++) {
        uint64_t left = it->near_sites[word] & admitted[word] & it->open_sites[word] & offering[word];
        for (; left; left &= left - 1) {
            if (count == CANDIDATES_MAX) return -1;
            const int64_t site = 64 * word + __builtin_ctzll(left);
            ask(WORDS32(STALLS) + STALL_LINE * stall_of[site]);
            candidates[count][0] = site;
            candidates[count++][1] = stall_of[site];
        }
    }
    int looked = 0;
    for (int row = 0; row < count; row++) {
        const int32_t *stall = WORDS32(STALLS) + STALL_LINE * candidates[row][1];
        looked += stall[STALL_COUNT];
        if (looked > STALL_OFFERS_MAX) return -1;
        for (int number = 0; number < stall[STALL_COUNT]; number++) {
            const int32_t *offer = stall + STALL_HEAD + STALL_OFFER * number;
            if (!attributes_pass(it->campaign, offer[1])) continue;
            it->survivors[found++] = (survivor_t){offer[0], candidates[row][0], bound, FROM_STALL};
            ask_for_offer(s, it, offer[0], candidates[row][0]);
        }
    }
    return found;
}

/* Put the best offer and the best of another owner group into `winner` and `rival`; deals: no rival. */
static void search(int64_t *s, row_t bid, int deals, best_t *winner, best_t *rival)
{
    row_t sites = WORDS64(SITES);
    const uint8_t *site_rules = BYTES(SITE_RULES) + s[SITE_CAPACITY] * bid[REST_CAMPAIGN];
    search_t it;
    it.bid = bid;
    it.campaign = WORDS64(CAMPAIGNS) + CAMPAIGN_ROW * bid[REST_CAMPAIGN];
    it.rtt = WORDS32(RTT) + s[SITE_CAPACITY] * bid[REST_ORIGIN];
    it.near_rows = BITS64(NEAR) + s[SITE_WORDS] * BANDS * bid[REST_ORIGIN];
    it.open_sites = BITS64(OPEN_SITES);
    it.lease_us = bid[REST_LEASE_US];
    it.time_value = it.campaign[CAMPAIGN_TIME_VALUE];
    it.m = mix_of(bid[REST_TOKENS_IN], bid[REST_TOKENS_OUT]);
    it.to_beat = 0;
    for (int64_t place = 0; place < it.campaign[CAMPAIGN_MODEL_COUNT]; place++) {
        const int64_t model = it.campaign[CAMPAIGN_MODELS + place], lane = LANES_PER_MODEL * model + deals;
        row_t at_lane = WORDS64(LANES) + LANE_WORDS * lane;
        if (at_lane[LANE_COUNT] == 0 || WORDS64(MODELS)[MODEL_ROW * model + MODEL_HALTS]) continue;
        const int64_t markdown = it.campaign[CAMPAIGN_MARKDOWNS + place];
        it.ceiling = bid[REST_PRICE] - markdown;
        set_band(s, &it, bid[REST_BAND]);
        const int64_t first_view = view_range(s, bid[REST_CAMPAIGN], place, lane);
        const int64_t first = at_lane[LANE_FIRST];
        int64_t end = first + at_lane[LANE_COUNT];
        for (int64_t entry = first; entry < first + AHEAD && entry < end; entry++) ask_for(s, entry, first_view);
        int board = 0;
        for (int64_t entry = first; entry < end;) {
            int found = 0;
            while (entry < end && found < GATHER) {
                row_t line = WORDS64(DIRECTORY) + ENTRY_ROW * entry;
                const int64_t bound = it.ceiling - bound_of((const int32_t *)line, &it.m, it.lease_us);
                if (bound < it.to_beat) {
                    end = entry;
                    break;
                }
                narrower(s, &it, bound - it.to_beat);
                if (entry == first + s[SHELVES_FIRST] && board == 0) {
                    const int by_place = survivors_at(s, &it, found, model, bound);
                    if (by_place >= 0) {
                        found = by_place;
                        end = entry;
                        break;
                    }
                }
                const int64_t number = line[ENTRY_SHELF] & 0xFFFFFFFF;
                int64_t *shelf = WORDS64(SHELVES) + SHELF_ROW * number;
                if (board == 0) {
                    if (entry + AHEAD < end) ask_for(s, entry + AHEAD, first_view);
                    if (line[ENTRY_VERSION] & 1) look_at_fresh(s, shelf);
                }
                const uint64_t version = (uint64_t)line[ENTRY_VERSION];
                uint64_t *view = BITS64(VIEWS) + VIEW_ROW * (first_view + (line[ENTRY_SHELF] >> 32));
                if (view[VIEW_VERSION] >> 1 != version >> 1) make_view(s, bid[REST_CAMPAIGN], view, number, version);
                if (view[VIEW_VERSION] & 1) {
                    found = survivors_listed(s, &it, found, number, (const int32_t *)view, bound);
                    if (version & 1) found = survivors_fresh(s, &it, found, number, bound);
                } else {
                    found = survivors_of(s, &it, found, shelf, number, view, &board, winner);
                    if (board < BOARDS) break;
                    board = 0;
                }
                entry++;
            }
            settle_listed(s, &it, found);
            for (int i = 0; i < found; i++) {
                const survivor_t *one = it.survivors + i;
                if (one->bound < it.to_beat) continue;
                row_t site = sites + SITE_ROW * one->site;
                const int64_t rtt_us = (int64_t)it.rtt[one->site] >> 1, group = site[SITE_GROUP];
                const int64_t away = (it.time_value * rtt_us) >> 10, here = one->offer;
                if (one->bound - away < it.to_beat) continue;
                if (one->bound - away < winner->score && group == winner->group) continue;
                row_t asks = WORDS64(ASKS) + ASK_ROW * here;
                const int64_t bound = it.ceiling - away
                    - price_of(bid, asks[ASK_IN], asks[ASK_OUT], asks[ASK_SECOND]);
                if (bound < it.to_beat || (bound < winner->score && group == winner->group)) continue;
                const int known = one->known != FRESH, site_rule = known ? 0 : site_rules[one->site];
                if (one->known == FROM_STALL && (((const int32_t *)asks)[ASK_DEAL] != 0) != deals) continue;
                const int peers = !it.campaign[CAMPAIGN_PEERING] || site_peers(s, site, bid[REST_ASN]);
                judged_t judged;
                if (!judge(s, bid, it.campaign, here, markdown, site_rule, known, peers,
                           rtt_us + site[SITE_MARGIN], &judged))
                    continue;
                const best_t offer = {here, judged.score, judged.latency, judged.cost, group};
                if (winner->offer == 0 || better(s, here, &judged, winner)) {
                    if (winner->offer && winner->group != group) *rival = *winner;
                    *winner = offer;
                } else if (group != winner->group && (rival->offer == 0 || better(s, here, &judged, rival))) {
                    *rival = offer;
                }
                if (deals) it.to_beat = winner->score;
                else if (rival->offer) it.to_beat = rival->score;
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
