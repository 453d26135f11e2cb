"""Conversion of streamed markdown to words that a voice can speak."""
