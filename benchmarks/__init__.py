"""The goals of docs/performance.md, measured: `make bench`, or `python -m benchmarks --help`."""
