"""Markdown to speakable words, token by token."""
