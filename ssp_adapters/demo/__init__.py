"""The demo's sites: a made-up world of operators at real places (`world.py`)."""
