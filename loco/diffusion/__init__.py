"""Diffusion: noise schedules, posterior means, inversion and sampling; no linear algebra of Jacobians."""
