"""Text between model and voice: speakable words, clauses, prompts, fillers and spoken commands."""
