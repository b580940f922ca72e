/* A scan of one model's offers, columns of 32 bits first so that the compiler makes vectors of it.
 *
 * Once per question: a row of round trips in which sites that are not admitted are out of reach. Then
 * 512 offers at a time: a loop without branches tells who passes what needs no arithmetic of 64 bits,
 * a second one lists them, and only those are priced.
 */
#include <stdint.h>
#include <time.h>

enum { CHUNK = 512, FAR = 1 << 30 };

typedef struct {
    const int64_t *starts;
    const int32_t *site, *available, *ttft, *context, *speed, *cold, *deal, *owner;
    const uint32_t *capabilities, *hardware, *kinds;
    const int64_t *prefill, *ask_in, *ask_out, *ask_second, *priority;
    const int32_t *path; /* [metros][sites] */
    const uint8_t *admitted; /* [campaigns][sites] */
    const uint8_t *deal_buyers; /* [deals][buyers] */
    int64_t sites, buyers;
    int32_t *reach; /* [sites], scratch */
} book_t;

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

static answer_t answer(const book_t *b, const question_t *q)
{
    const int32_t *path = b->path + q->origin * b->sites;
    const uint8_t *admitted = b->admitted + q->campaign * b->sites;
    int32_t *restrict reach = b->reach;
    for (int64_t s = 0; s < b->sites; s++) reach[s] = admitted[s] ? path[s] : FAR;

    offer_t winner = {.row = -1}, rival = {.row = -1}, deal = {.row = -1};
    const int32_t budget = (int32_t)q->budget_us, speed = (int32_t)q->speed;
    const int32_t tokens = (int32_t)(q->tokens_in + q->tokens_out);
    const int32_t cold_max = q->accept_cold ? INT32_MAX : 0;
    const uint32_t wanted = (uint32_t)q->capabilities, hardware = (uint32_t)q->hardware;
    const uint32_t precisions = (uint32_t)q->precisions & 0xff;
    const uint32_t contracts = ((uint32_t)q->contracts & 0xff) << 8;
    for (int64_t m = 0; m < q->count; m++) {
        const int64_t end = b->starts[q->model[m] + 1];
        for (int64_t first = b->starts[q->model[m]]; first < end; first += CHUNK) {
            const int n = end - first < CHUNK ? (int)(end - first) : CHUNK;
            int32_t passes[CHUNK], list[CHUNK];
            for (int i = 0; i < n; i++) {
                const int64_t o = first + i;
                int32_t ok = reach[b->site[o]] + b->ttft[o] <= budget;
                ok &= b->available[o] > 0;
                ok &= (b->capabilities[o] & wanted) == wanted;
                ok &= (b->hardware[o] & hardware) != 0;
                ok &= (b->kinds[o] & precisions) != 0;
                ok &= (b->kinds[o] & contracts) != 0;
                ok &= b->context[o] >= tokens;
                ok &= b->speed[o] >= speed;
                ok &= b->cold[o] <= cold_max;
                passes[i] = ok;
            }
            int count = 0;
            for (int i = 0; i < n; i++) {
                list[count] = i;
                count += passes[i];
            }
            for (int i = 0; i < count; i++) {
                const int64_t o = first + list[i];
                if (b->deal[o] && !b->deal_buyers[b->deal[o] * b->buyers + q->buyer]) continue;
                offer_t here = {.row = o, .owner = b->owner[o], .place = m, .priority = b->priority[o]};
                here.latency = (int64_t)reach[b->site[o]] + b->ttft[o] + b->cold[o]
                    + q->tokens_in * b->prefill[o] / 1000;
                if (here.latency > q->budget_us) continue;
                here.cost = ceil_div(q->tokens_in * b->ask_in[o] + q->tokens_out * b->ask_out[o], 1000)
                    + ceil_div(b->ask_second[o] * q->lease_us, 1000000);
                here.score = q->max_price - q->markdown[m] - here.cost
                    - ceil_div(q->time_value * here.latency, 1000);
                if (here.score < 0) continue;
                if (b->deal[o]) {
                    if (better(&here, &deal)) deal = here;
                } else if (better(&here, &winner)) {
                    if (winner.row >= 0 && winner.owner != here.owner) rival = winner;
                    winner = here;
                } else if (here.owner != winner.owner && better(&here, &rival)) {
                    rival = here;
                }
            }
        }
    }
    int64_t price = 0, gain = -1;
    if (winner.row >= 0) {
        const int64_t value = winner.score + winner.cost, card = q->card[winner.place];
        const int64_t capped = value < card ? value : card;
        price = winner.cost > capped ? winner.cost : capped;
        if (rival.row >= 0 && value - rival.score < price) price = value - rival.score;
        gain = value - price;
    }
    if (deal.row >= 0 && deal.score >= gain) return (answer_t){deal.row, deal.cost};
    return (answer_t){winner.row, price};
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
