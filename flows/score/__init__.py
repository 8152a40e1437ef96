"""Transfer scores: the job and its chunk."""
