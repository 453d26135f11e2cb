"""What `scripts/fit_turns.py` is made of."""
