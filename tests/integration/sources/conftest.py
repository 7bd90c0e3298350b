from tests.support.fetching import clock, fetcher, make_fetcher

__all__ = ["clock", "fetcher", "make_fetcher"]
