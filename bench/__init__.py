"""Benchmarks: `python -m bench [names]` from the repository's root. Each module is one part and has a `main()`."""
