"""Every promise of the market is kept by both engines: `book` is a market run by each in turn."""

import pytest

from matching_core.engines import ENGINES
from tests.market.book import Book


@pytest.fixture(params=sorted(ENGINES))
def engine(request):
    return request.param


@pytest.fixture
def book(engine):
    return Book(engine)
