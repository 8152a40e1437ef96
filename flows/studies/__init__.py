"""Flows that look at the whole: the demonstration, analysis, benchmarks."""
