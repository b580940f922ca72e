"""`python -m bench NAME …`: run a benchmark; without a name, say which there are."""

import importlib
import pkgutil
import sys
from pathlib import Path


def main() -> int:
    """Run the benchmark that the first argument names with the rest of the arguments."""
    found = sorted(
        module.name
        for module in pkgutil.iter_modules([str(Path(__file__).parent)])
        if not module.name.startswith("_")
        and module.name in {"core", "explain", "gap", "path", "tables"}
    )
    if len(sys.argv) < 2 or sys.argv[1] not in found:
        print("usage: python -m bench NAME [--quick] [--json]; NAME: " + ", ".join(found))
        return 2
    return int(importlib.import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
