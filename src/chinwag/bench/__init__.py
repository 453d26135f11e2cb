"""Recorded people played to a real server through the real wire, measured at the client's ear."""
