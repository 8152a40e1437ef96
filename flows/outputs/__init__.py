"""Where edited images go: folders and URLs with a manifest, single files and shards; whose they are."""
