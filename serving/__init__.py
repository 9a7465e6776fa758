"""Requests in, timed completions out. Knows nothing of agents."""
