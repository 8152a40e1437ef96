"""How a run is run, whatever its kind: plan, chunks, executors, retries, record. Knows no Prefect."""
