"""The window of answers: what lets a repeated message get its first answer again (WIRE.md)."""

from collections import OrderedDict

from schemas.limits import ANSWER_BYTES_KEPT_MAX, ANSWERS_KEPT_MAX


class AnswerWindow:
    """The newest answers of one session epoch, bounded by count and by bytes; the oldest go first."""

    def __init__(
        self, count_max: int = ANSWERS_KEPT_MAX, bytes_max: int = ANSWER_BYTES_KEPT_MAX
    ) -> None:
        self._answers: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def bytes_kept(self) -> int:
        """The bytes of all answers kept."""
        return self._bytes

    def keep(self, first: int, numbers: int, answer: bytes) -> None:
        """Keep the answer to the frame of numbers `first` … `first + numbers - 1`."""
        self._answers[first] = (numbers, answer)
        self._bytes += len(answer)
        while len(self._answers) > self._count_max or self._bytes > self._bytes_max:
            _, (_, oldest) = self._answers.popitem(last=False)
            self._bytes -= len(oldest)

    def find(self, first: int, numbers: int) -> bytes | None:
        """Return the answer to exactly this frame, or None when it is gone or was another."""
        kept = self._answers.get(first)
        if kept is None or kept[0] != numbers:
            return None
        return kept[1]

    def clear(self) -> None:
        """Forget every answer: another epoch begins."""
        self._answers.clear()
        self._bytes = 0
