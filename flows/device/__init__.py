"""Accelerators and what runs on them: slots and opened models."""
