"""One module a step; the newest is what schema.py says."""
