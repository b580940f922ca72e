"""What starts the parts of the exchange, watches them and stops them."""
