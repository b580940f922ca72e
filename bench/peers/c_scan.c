/* A scan of one model's offers, eight at a time.
 *
 * What can be asked of an offer is two words of 32 bits, one bit per way to fail; with them stand four
 * more columns of 32 bits. A vector of eight is first held against the words, the context and the
 * speed; only if one of the eight passes, the round trips to their sites are gathered, and what they
 * cost at least is computed in floats. Only what may still be one of the best two is priced exactly,
 * from a cache line each. Without AVX2 the same in plain C.
 */
#include <stdint.h>
#include <time.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

enum { FAR = 1 << 30 };
enum { SOLD_OUT = 29, COLD = 30, PRECISION = 8, CONTRACT = 16 }; /* bits; hardware, lacking: from 0 */

typedef struct {
    int64_t ask_in, ask_out, ask_second, prefill, priority;
    int32_t cold, deal, owner, unused[3];
} terms_t; /* 64 bytes */

typedef struct {
    const int64_t *starts;
    const uint32_t *first, *second; /* ways to fail */
    const int32_t *context, *speed, *site, *ttft; /* eight more than there are offers */
    const float *ask_in, *ask_out, *ask_second; /* n$ per token, per µs */
    const terms_t *terms;
    const int32_t *path; /* [metros][sites] */
    const uint8_t *admitted; /* [campaigns][sites] */
    const uint8_t *deal_buyers; /* [deals][buyers] */
    int64_t sites, buyers, deals; /* deals: whether there are any */
    int32_t *reach; /* [sites], scratch */
} book_t;

/* Of one question and one model: what a vector of offers is held against. */
typedef struct {
    uint32_t first, second;
    int32_t tokens, speed, budget;
    float tokens_in, tokens_out, lease_us, most; /* `most`: what a winner or rival may cost, or more */
    const int32_t *reach;
} asked_t;

typedef struct {
    int64_t campaign, buyer, origin, tokens_in, tokens_out, lease_us, budget_us, max_price;
    int64_t time_value, capabilities, hardware, precisions, contracts, speed, accept_cold, count;
    int64_t model[4], markdown[4], card[4];
} question_t;

typedef struct { int64_t row, price; } answer_t;

typedef struct { int64_t row, score, latency, priority, cost, place; int32_t owner; } offer_t;

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static inline int better(const offer_t *a, const offer_t *b)
{
    if (b->row < 0) return 1;
    if (a->score != b->score) return a->score > b->score;
    if (a->latency != b->latency) return a->latency < b->latency;
    return a->priority < b->priority;
}

typedef struct { offer_t winner, rival, deal; } search_t;

/* Return a bit for each of eight offers that passes what needs no exact arithmetic. */
static inline uint32_t eight(const book_t *b, int64_t o, const asked_t *a)
{
#ifdef __AVX2__
#define AT(column) _mm256_loadu_si256((const __m256i *)((column) + o))
#define TIMES(column, number) _mm256_mul_ps(_mm256_loadu_ps((column) + o), _mm256_set1_ps(number))
    __m256i fails = _mm256_and_si256(AT(b->first), _mm256_set1_epi32((int32_t)a->first));
    fails = _mm256_or_si256(fails, _mm256_and_si256(AT(b->second), _mm256_set1_epi32((int32_t)a->second)));
    __m256i fits = _mm256_cmpeq_epi32(fails, _mm256_setzero_si256());
    fits = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(a->tokens), AT(b->context)), fits);
    fits = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(a->speed), AT(b->speed)), fits);
    if (_mm256_testz_si256(fits, fits)) return 0;
    const __m256 least = _mm256_add_ps(
        _mm256_add_ps(TIMES(b->ask_in, a->tokens_in), TIMES(b->ask_out, a->tokens_out)),
        TIMES(b->ask_second, a->lease_us));
    const __m256 cheap = _mm256_cmp_ps(least, _mm256_set1_ps(a->most), _CMP_LE_OQ);
    fits = _mm256_and_si256(fits, _mm256_castps_si256(cheap));
    if (_mm256_testz_si256(fits, fits)) return 0;
    const __m256i away = _mm256_mask_i32gather_epi32(_mm256_set1_epi32(FAR), a->reach, AT(b->site), fits, 4);
    const __m256i late = _mm256_cmpgt_epi32(_mm256_add_epi32(away, AT(b->ttft)), _mm256_set1_epi32(a->budget));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_andnot_si256(late, fits)));
#undef AT
#undef TIMES
#else
    uint32_t pass = 0;
    for (int i = 0; i < 8; i++) {
        uint32_t ok = !((b->first[o + i] & a->first) | (b->second[o + i] & a->second));
        ok &= b->context[o + i] >= a->tokens;
        ok &= b->speed[o + i] >= a->speed;
        ok &= a->reach[b->site[o + i]] + b->ttft[o + i] <= a->budget;
        ok &= b->ask_in[o + i] * a->tokens_in + b->ask_out[o + i] * a->tokens_out
            + b->ask_second[o + i] * a->lease_us <= a->most;
        pass |= ok << i;
    }
    return pass;
#endif
}

/* Return what an offer may cost to reach a score, as a float that errs upwards, whatever the sum of
 * three products of floats has lost to rounding: a millionth is more than ten times that. */
static inline float most_for(const question_t *q, int64_t m, int64_t score)
{
    const int64_t most = q->max_price - q->markdown[m] - score;
    return most < 0 ? -1.0f : (float)most * 1.000002f + 1.0f;
}

/* Hold one offer against deals, the exact latency and the ceiling, and keep it if it is a best. */
static inline void price(const book_t *b, const question_t *q, int64_t m, int64_t o, const int32_t *reach,
                         search_t *found)
{
    const terms_t *t = b->terms + o;
    if (t->deal && !b->deal_buyers[t->deal * b->buyers + q->buyer]) return;
    offer_t here = {.row = o, .owner = t->owner, .place = m, .priority = t->priority};
    here.latency = (int64_t)reach[b->site[o]] + b->ttft[o] + t->cold + q->tokens_in * t->prefill / 1000;
    if (here.latency > q->budget_us) return;
    here.cost = ceil_div(q->tokens_in * t->ask_in + q->tokens_out * t->ask_out, 1000)
        + ceil_div(t->ask_second * q->lease_us, 1000000);
    here.score = q->max_price - q->markdown[m] - here.cost - ceil_div(q->time_value * here.latency, 1000);
    if (here.score < 0) return;
    if (t->deal) {
        if (better(&here, &found->deal)) found->deal = here;
    } else if (better(&here, &found->winner)) {
        if (found->winner.row >= 0 && found->winner.owner != here.owner) found->rival = found->winner;
        found->winner = here;
    } else if (here.owner != found->winner.owner && better(&here, &found->rival)) {
        found->rival = here;
    }
}

static answer_t answer(const book_t *b, const question_t *q)
{
    const int32_t *path = b->path + q->origin * b->sites;
    const uint8_t *admitted = b->admitted + q->campaign * b->sites;
    int32_t *restrict reach = b->reach;
    for (int64_t s = 0; s < b->sites; s++) reach[s] = admitted[s] ? path[s] : FAR;

    search_t found = {{.row = -1}, {.row = -1}, {.row = -1}};
    asked_t a = {
        .first = (~(uint32_t)q->hardware & ((1u << SOLD_OUT) - 1)) | 1u << SOLD_OUT
            | (q->accept_cold ? 0 : 1u << COLD),
        .second = ((uint32_t)q->capabilities & 0xff)
            | (~(uint32_t)q->precisions & 0xff) << PRECISION | (~(uint32_t)q->contracts & 0xff) << CONTRACT,
        .tokens = (int32_t)(q->tokens_in + q->tokens_out), .speed = (int32_t)q->speed,
        .budget = (int32_t)q->budget_us, .tokens_in = (float)q->tokens_in,
        .tokens_out = (float)q->tokens_out, .lease_us = (float)q->lease_us, .reach = reach,
    };
    for (int64_t m = 0; m < q->count; m++) {
        const int64_t end = b->starts[q->model[m] + 1];
        a.most = most_for(q, m, found.rival.row < 0 || b->deals ? 0 : found.rival.score);
        for (int64_t o = b->starts[q->model[m]]; o < end; o += 8) {
            uint32_t pass = eight(b, o, &a);
            if (!pass) continue;
            if (end - o < 8) pass &= (1u << (end - o)) - 1;
            for (; pass; pass &= pass - 1) price(b, q, m, o + __builtin_ctz(pass), reach, &found);
            if (found.rival.row >= 0 && !b->deals) a.most = most_for(q, m, found.rival.score);
        }
    }
    const offer_t winner = found.winner, rival = found.rival, deal = found.deal;
    int64_t paid = 0, gain = -1;
    if (winner.row >= 0) {
        const int64_t value = winner.score + winner.cost, card = q->card[winner.place];
        const int64_t capped = value < card ? value : card;
        paid = winner.cost > capped ? winner.cost : capped;
        if (rival.row >= 0 && value - rival.score < paid) paid = value - rival.score;
        gain = value - paid;
    }
    if (deal.row >= 0 && deal.score >= gain) return (answer_t){deal.row, deal.cost};
    return (answer_t){winner.row, paid};
}

/* Answer n questions; ns[i] is the time of question i, unless ns is 0. */
void answer_all(const book_t *book, const question_t *questions, int64_t n, answer_t *answers, int64_t *ns)
{
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int64_t i = 0; i < n; i++) {
        answers[i] = answer(book, questions + i);
        if (!ns) continue;
        clock_gettime(CLOCK_MONOTONIC, &after);
        ns[i] = 1000000000 * (after.tv_sec - before.tv_sec) + after.tv_nsec - before.tv_nsec;
        before = after;
    }
}
