"""The market: its plain definition and the compiled core that equals it. Pure."""
