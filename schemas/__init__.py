"""What all parties share: types, limits, the session protocol, tokens. Pure but for `link`."""
