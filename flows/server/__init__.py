"""The home's own Prefect server: its process, who may ask it, and asking it."""
