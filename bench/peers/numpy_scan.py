"""NumPy, split by model: masks over the columns of one model's offers."""

import numpy as np

from bench.peers.book import FAR, Answer, Array, Book, Candidate, Question, conclude


class NumpyPeer:
    """Answer questions with whole-array operations on the offers of a model."""

    def __init__(self, book: Book) -> None:
        self._book = book
        columns = dict(book.offers)
        for name in ("hardware", "precision", "contract"):
            columns[name] = np.left_shift(np.int64(1), columns[name])
        self._models = [
            {name: column[first:end].copy() for name, column in columns.items()}
            for first, end in zip(book.starts[:-1], book.starts[1:], strict=True)
        ]
        self._have_deals = [bool(offers["deal"].any()) for offers in self._models]

    def answers(self, questions: list[Question]) -> list[Answer]:
        """Answer them one by one."""
        return [self._answer(question) for question in questions]

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, question: Question) -> Answer:
        opened: list[Candidate] = []
        deals: list[Candidate] = []
        for place, (model, _) in enumerate(question.rules.models):
            found = self.eligible(question, place)
            if self._have_deals[model]:
                is_deal = self._models[model]["deal"][found[0]] != 0
                deals += self._two(model, *(each[is_deal] for each in found))
                found = tuple(each[~is_deal] for each in found)
            opened += self._two(model, *found)
        return conclude(self._book, question, opened, deals)

    def eligible(self, question: Question, place: int) -> tuple[Array, ...]:
        """Return row within the model, score, latency and cost of each eligible offer of one model."""
        rules, (model, markdown) = question.rules, question.rules.models[place]
        offers, book = self._models[model], self._book
        path = np.where(book.admitted[rules.campaign], book.path_us[question.origin], FAR)
        rows = np.nonzero((path <= question.budget_us)[offers["site"]])[0]
        fits = offers["available"][rows] >= 1
        fits &= (offers["capabilities"][rows] & rules.capabilities) == rules.capabilities
        fits &= offers["hardware"][rows] & rules.hardware != 0
        fits &= offers["precision"][rows] & rules.precisions != 0
        fits &= offers["contract"][rows] & rules.contracts != 0
        fits &= offers["context_limit"][rows] >= question.tokens_in + question.tokens_out
        fits &= offers["tokens_per_second"][rows] >= rules.speed
        if not rules.cold:
            fits &= offers["cold_start_us"][rows] == 0
        rows = rows[fits]
        if self._have_deals[model]:
            deal = offers["deal"][rows]
            rows = rows[(deal == 0) | book.deal_buyers[deal, question.buyer]]
        latency = (
            path[offers["site"][rows]] + offers["ttft_us"][rows] + offers["cold_start_us"][rows]
        )
        latency += question.tokens_in * offers["prefill_ns_per_token"][rows] // 1000
        tokens = question.tokens_in * offers["ask_in"][rows]
        tokens += question.tokens_out * offers["ask_out"][rows]
        cost = -(-tokens // 1000) - (-offers["ask_second"][rows] * question.lease_us // 1_000_000)
        score = question.max_price - markdown + (-rules.time_value * latency // 1000) - cost
        fits = (latency <= question.budget_us) & (score >= 0)
        return rows[fits], score[fits], latency[fits], cost[fits]

    def candidate(self, model: int, row: int, score: int, latency: int, cost: int) -> Candidate:
        """Return an offer as the rule's end wants it; `row` counts within the model."""
        offers = self._models[model]
        return Candidate(
            score, latency, int(offers["priority"][row]), int(offers["owner"][row]), cost,
            int(self._book.starts[model]) + row, model,
        )  # fmt: skip

    def _two(
        self, model: int, rows: Array, score: Array, latency: Array, cost: Array
    ) -> list[Candidate]:
        """Return the best and the best of another owner."""
        priority, owners = self._models[model]["priority"], self._models[model]["owner"][rows]
        found: list[Candidate] = []
        left = np.arange(len(rows))
        while len(left) and len(found) < 2:
            best = left[score[left] == score[left].max()]
            if len(best) > 1:
                best = best[np.lexsort((priority[rows[best]], latency[best]))]
            at = int(best[0])
            found.append(
                self.candidate(
                    model, int(rows[at]), int(score[at]), int(latency[at]), int(cost[at])
                )
            )
            left = left[owners[left] != owners[at]]
        return found
