"""The exchange's counters in the durable page: what they are and where.

The exchange adds to words of shared memory and nothing else; the follower turns them into metrics.
So a scrape, however slow, never meets the thread that decides.
"""

from typing import Final

# Place of each counter in the page's u64[256]. Places are kept for ever, so that a follower of the
# version before reads the same things.
READY: Final = 0  # 1 once sessions are served; the time of that is START_NS
START_NS: Final = 1
ROUNDS: Final = 2  # rounds that wrote something
RECORDS: Final = 3  # hot records and rare messages taken
REFUSED: Final = 4  # of them, refused before the sequencer
MESSAGES: Final = 5  # wire messages read
MALFORMED: Final = 6  # messages that cost their session
ANSWERS: Final = 7  # messages sent
ANSWERS_LOST: Final = 8  # peer gone or its queue full
SESSIONS: Final = 9  # open now
SESSIONS_OPENED: Final = 10
SESSIONS_ENDED: Final = 11
SYNC_NS_SUM: Final = 12
SYNC_NS_MAX: Final = 13
ROUND_NS_SUM: Final = 14  # from the first message read to the last answer sent
ROUND_NS_MAX: Final = 15
REPEATS: Final = 16  # messages answered from the window
HEARTBEAT_NS: Final = 17  # of the loop, for whoever watches
RATE_REFUSED: Final = 18
# Histograms: bucket b counts values below 2**(b + 10) ns (1.02 µs) and not below the one before.
SYNC_NS_BUCKETS: Final = 64  # 24 words
ROUND_NS_BUCKETS: Final = 96  # 24 words
ROUND_RECORDS_BUCKETS: Final = 128  # 16 words: rounds of below 2**b records
BUCKETS: Final = 24
RECORDS_BUCKETS: Final = 16

NAMES: Final = {
    "ready": READY,
    "rounds": ROUNDS,
    "records": RECORDS,
    "refused": REFUSED,
    "messages": MESSAGES,
    "malformed": MALFORMED,
    "answers": ANSWERS,
    "answers_lost": ANSWERS_LOST,
    "sessions": SESSIONS,
    "sessions_opened": SESSIONS_OPENED,
    "sessions_ended": SESSIONS_ENDED,
    "sync_ns_sum": SYNC_NS_SUM,
    "sync_ns_max": SYNC_NS_MAX,
    "round_ns_sum": ROUND_NS_SUM,
    "round_ns_max": ROUND_NS_MAX,
    "repeats": REPEATS,
    "rate_refused": RATE_REFUSED,
}


def time_bucket(ns: int) -> int:
    """Return the bucket of a duration, 0 … BUCKETS − 1."""
    return min(max(ns.bit_length() - 10, 0), BUCKETS - 1)


def count_bucket(count: int) -> int:
    """Return the bucket of a count of records, 0 … RECORDS_BUCKETS − 1."""
    return min(count.bit_length(), RECORDS_BUCKETS - 1)
