"""From a clause to sound, and how much of that sound was played to the listener."""
