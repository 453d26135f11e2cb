"""Fit the parameters of turn taking to recorded and synthesised speech (`fit_turns.py`)."""
