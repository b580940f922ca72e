"""Polars: a frame per model, filters, then the two best rows."""

import os
from typing import Any

import numpy as np

from bench.peers.book import FAR, Answer, Book, Candidate, Question, conclude


class PolarsPeer:
    """Answer questions with one lazy query per model of the bid, on one thread."""

    def __init__(self, book: Book) -> None:
        os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read at the first import
        import polars as pl

        self._pl = pl
        self._book = book
        columns = dict(book.offers)
        for name in ("hardware", "precision", "contract"):
            columns[name] = np.left_shift(np.int64(1), columns[name])
        columns["row"] = np.arange(len(columns["model"]))
        self._models = [
            pl.DataFrame({name: column[first:end] for name, column in columns.items()})
            for first, end in zip(book.starts[:-1], book.starts[1:], strict=True)
        ]

    def answers(self, questions: list[Question]) -> list[Answer]:
        """Answer them one by one."""
        return [self._answer(question) for question in questions]

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, question: Question) -> Answer:
        opened: list[Candidate] = []
        deals: list[Candidate] = []
        for place in range(len(question.rules.models)):
            opened += self._two(question, place, (0,))
            if question.rules.deals:
                deals += self._two(question, place, question.rules.deals)
        return conclude(self._book, question, opened, deals)

    def _two(self, question: Question, place: int, deals: tuple[int, ...]) -> list[Candidate]:
        pl, rules = self._pl, question.rules
        col = pl.col
        model, markdown = rules.models[place]
        admitted = self._book.admitted[rules.campaign]
        path = pl.Series(np.where(admitted, self._book.path_us[question.origin], FAR))
        near = pl.Series(
            np.where(admitted, self._book.path_us[question.origin], FAR) <= question.budget_us
        )
        fits: Any = pl.lit(near).gather(col("site")) & (col("available") >= 1)
        fits &= col("deal").is_in(list(deals))
        if rules.capabilities:
            fits &= (col("capabilities") & rules.capabilities) == rules.capabilities
        for name, mask in (
            ("hardware", rules.hardware), ("precision", rules.precisions), ("contract", rules.contracts),
        ):  # fmt: skip
            if mask != -1:
                fits &= (col(name) & mask) != 0
        fits &= col("context_limit") >= question.tokens_in + question.tokens_out
        if rules.speed:
            fits &= col("tokens_per_second") >= rules.speed
        if not rules.cold:
            fits &= col("cold_start_us") == 0
        tokens = question.tokens_in * col("ask_in") + question.tokens_out * col("ask_out")
        cost = (tokens + 999) // 1000 + (
            col("ask_second") * question.lease_us + 999_999
        ) // 1_000_000
        latency = pl.lit(path).gather(col("site")) + col("ttft_us") + col("cold_start_us")
        latency += question.tokens_in * col("prefill_ns_per_token") // 1000
        score = question.max_price - markdown - col("cost")
        score -= (rules.time_value * col("latency") + 999) // 1000
        found = (
            self._models[model].lazy()
            .filter(fits)
            .select("row", "owner", "priority", cost.alias("cost"), latency.alias("latency"))
            .with_columns(score.alias("score"))
            .filter((col("latency") <= question.budget_us) & (col("score") >= 0))
            .collect()
        )  # fmt: skip
        two: list[Candidate] = []
        while found.height and len(two) < 2:
            best = found.filter(col("score") == col("score").max())
            if best.height > 1:
                best = best.sort("latency", "priority")
            row = best.row(0, named=True)
            two.append(
                Candidate(
                    row["score"], row["latency"], row["priority"], row["owner"], row["cost"],
                    row["row"], model,
                )
            )  # fmt: skip
            found = found.filter(col("owner") != row["owner"])
        return two
