"""Upkeep of a whole home: verify, reindex, gc, exchange, backup."""
