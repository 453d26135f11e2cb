"""Chinwag: a self-hosted server for natural spoken conversation with an AI."""

__version__ = "0.1.0"
