"""Measure every strategy on every workload: checked first, timed after, one row each."""
