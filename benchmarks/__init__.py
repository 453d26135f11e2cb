"""Benchmarks for the development of Chinwag: engines, languages and a recorded conversation."""
