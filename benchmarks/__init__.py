"""How fast Hot Potato is, on this machine: `python -m benchmarks`. See README.md beside this file."""
