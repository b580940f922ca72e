"""Promises, by subject."""
