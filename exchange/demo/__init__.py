"""The demo: starts the processes of a whole market and watches them. It is no part of any of them."""
