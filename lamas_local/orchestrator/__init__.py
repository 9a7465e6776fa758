"""The trained orchestrator as a chat model: what `lamas-local serve` puts on the server."""
