"""From sound to a turn: voice activity, partial and final transcripts, endpointing."""
