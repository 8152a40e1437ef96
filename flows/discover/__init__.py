"""Discovery over a dataset: the job and its chunk."""
