"""Runs under Prefect: its flows and tasks, runners, what its page shows."""
