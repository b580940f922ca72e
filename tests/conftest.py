"""Options and markers of the whole suite (see `[tool.pytest.ini_options]` in pyproject.toml)."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="also run the tests marked `long`: wider spaces, more seeds, minutes of work",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    skip = pytest.mark.skip(reason="takes minutes: run with --long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Tell whether --long was given, for tests that are the same at both sizes."""
    return bool(request.config.getoption("--long"))
