"""A token bucket in units, fed the time: one second's worth may come at once."""

from dataclasses import dataclass

NS_PER_S = 1_000_000_000
# An agent that sends ten seconds' worth above its rate is not mistaken, it is broken.
FAR_OVER_SECONDS = 10


@dataclass(slots=True)
class UnitRate:
    """Units an agent may still send; cancels and completions cost nothing."""

    units_per_second: int
    updated_ns: int
    credit: float = -1.0  # negative: full at first use
    refused: float = 0.0  # lately: falls by the rate

    def take(self, units: int, now_ns: int) -> bool:
        """Take units if they are there; False (and nothing taken) when the rate is exceeded."""
        rate = self.units_per_second
        elapsed = max(0, now_ns - self.updated_ns) * rate / NS_PER_S
        self.updated_ns = max(self.updated_ns, now_ns)
        self.credit = rate if self.credit < 0 else min(rate, self.credit + elapsed)
        self.refused = max(0.0, self.refused - elapsed)
        if units <= self.credit:
            self.credit -= units
            return True
        self.refused += units
        return False

    def take_if_there(self, units: int, now_ns: int) -> bool:
        """Take units if they are there; else False, and nothing is counted as refused yet."""
        rate = self.units_per_second
        elapsed = max(0, now_ns - self.updated_ns) * rate / NS_PER_S
        credit = rate if self.credit < 0 else min(rate, self.credit + elapsed)
        if units > credit:
            return False
        self.updated_ns = max(self.updated_ns, now_ns)
        self.refused = max(0.0, self.refused - elapsed)
        self.credit = credit - units
        return True

    @property
    def far_over(self) -> bool:
        """True when so much was refused that the session should end."""
        return self.refused > FAR_OVER_SECONDS * self.units_per_second
