"""Regions of interest, from whatever says them: boxes, mask files, label maps, layouts, segmentation models."""
