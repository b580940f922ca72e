"""The exchange: gateway, sequencer, journal, follower, ledger and what runs them."""
