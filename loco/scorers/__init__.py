"""Scorers: what turns images into named numbers."""
