"""Logs, metrics, traces, and the observer that feeds them from a session's events."""
