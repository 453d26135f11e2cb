"""Sound over RTP: Opus, what jitter and loss do to it, and a clock that sends it in time. Knows no protocol."""
