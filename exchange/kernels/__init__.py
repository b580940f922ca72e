"""What the exchange compiles: whole rounds of frames in one call each. Plain functions on arrays."""
