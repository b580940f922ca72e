"""Commands of `curb` that run at a site, one module each, named in pyproject.toml."""
