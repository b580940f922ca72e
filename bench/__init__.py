"""Benchmarks: each has a small size for the test suite and a real one by hand, and prints a digest."""
