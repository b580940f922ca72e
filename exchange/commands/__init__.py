"""Commands of `curb` that need the exchange, one module each, named in pyproject.toml."""
