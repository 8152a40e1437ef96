"""Jobs on Prefect's clock: schedules, and the worker that runs what is due."""
