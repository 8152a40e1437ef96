"""Linear algebra of Jacobians that are never formed; it knows operators and rows, and no diffusion."""
