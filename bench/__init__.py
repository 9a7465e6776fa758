"""What the claims of speed rest on: one program a claim, each run with `python -m bench.NAME`."""
