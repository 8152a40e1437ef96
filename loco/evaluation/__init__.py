"""Evaluation: what edits of several methods are worth on images that they were not found on, side by side."""
