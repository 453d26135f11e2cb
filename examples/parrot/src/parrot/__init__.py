"""Engines for Chinwag by somebody else."""
