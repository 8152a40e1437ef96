"""The method: local edit directions of diffusion models (LOCO Edit, arXiv 2409.02374)."""
