"""What a runner asks of whatever serves the fills of its offers (pure)."""

from typing import NamedTuple, Protocol


class Job(NamedTuple):
    """What the engine must know of a fill; times as its offer stated them."""

    fill: int
    tokens_in: int
    tokens_out: int
    ttft_us: int
    prefill_ns_per_token: int
    tokens_per_second: int


class Done(NamedTuple):
    """A request that was served."""

    fill: int
    tokens_in: int
    tokens_out: int
    ttft_us: int


class Engine(Protocol):
    """Serves fills behind the runner: told of them, it says what started and what is done."""

    def take(self, job: Job, now_ns: int) -> None:
        """Expect the request of a fill."""

    def drop(self, fill: int) -> None:
        """Forget a fill that has not started."""

    def abort(self, fill: int) -> None:
        """Stop a fill's request wherever it is."""

    @property
    def next_ns(self) -> int | None:
        """When `due` next has something to tell; None while nothing is expected."""

    def due(self, now_ns: int) -> tuple[list[int], list[Done]]:
        """Return the fills that started and the requests that ended, up to now."""
