"""Sound over RTP: jitter buffer and aiortc tracks."""
