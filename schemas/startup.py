"""What every process of Curb checks before it does anything else."""

import sys
from typing import Final

EXIT_OPTIMISED: Final = (
    78  # sysexits.h EX_CONFIG: how it was started is wrong, not what it was asked
)


def refuse_optimised() -> None:
    """End the process when Python runs with -O, -OO or PYTHONOPTIMIZE.

    There the assertions are gone, and they are part of the product: money and slots are conserved
    because a broken invariant stops the exchange. Call it first in everything that can be started.

    Raises:
        SystemExit: with code 78, after one line on standard error.
    """
    if __debug__:
        return
    sys.stderr.write(
        "curb: started with assertions off (python -O or PYTHONOPTIMIZE). They guard money and "
        "slots, so Curb refuses to run without them.\n"
    )
    raise SystemExit(EXIT_OPTIMISED)
