"""Whether and when a turn has ended, from the words, the sound and the speaker's rhythm."""
