"""Where images come from: places, lists and shards, by path or URL; nothing of a job."""
