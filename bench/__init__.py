"""Benchmark of a run's cost beside the published procedure: `make bench`."""
