"""The gateway: connections to agents, agents to sessions. It decides nothing about the market."""
