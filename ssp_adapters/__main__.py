"""`python -m ssp_adapters`: stream one operator's offers (see `ssp_adapters.process`)."""

from ssp_adapters.process import main

if __name__ == "__main__":
    raise SystemExit(main())
