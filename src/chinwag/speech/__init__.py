"""Speech synthesis of clauses, and how much of the audio was played."""
