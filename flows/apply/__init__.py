"""Bulk application: the job, its chunk, and the stream of images through it."""
