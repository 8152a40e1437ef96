"""The flows: discovery over a dataset and bulk application, orchestrated by Prefect."""
