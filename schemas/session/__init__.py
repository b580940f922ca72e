"""The session protocol: messages, the pure machine of both ends, and the window of answers."""
