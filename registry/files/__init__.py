"""The truth on disk: basis files, journals, manifests, and what else of a home is a file."""
