"""How fast Hot Potato is on this machine: `python -m benchmarks`. README.md here says more."""
