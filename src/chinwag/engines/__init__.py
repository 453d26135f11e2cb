"""Ears, judgement, mind and voice: one file an engine, each behind its protocol, found by name."""
