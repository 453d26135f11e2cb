"""Engines for VAD, turn detection, transcription, chat and speech: one file each, found by entry point."""
