"""Side-by-side benchmark of haz and its peers: ``python -m benchmarks`` (see README.md)."""
