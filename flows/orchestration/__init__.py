"""Everything Prefect: its server, its flows and tasks, schedules, the worker."""
