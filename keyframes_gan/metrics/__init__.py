"""Metrics: one file per family, listed in `METRICS`."""
