"""One conversation: session, response scheduler, response, barge-in, history, items and tools."""
