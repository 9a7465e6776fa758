"""Which agents to run for a query, and what that cost: in tokens and in seconds."""
