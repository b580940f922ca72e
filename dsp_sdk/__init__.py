"""The door of buyers: connect, bid, use fills."""
