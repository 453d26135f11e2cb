"""One module for each migration; the newest results in the tables of schema.py."""
