"""The OpenAI Realtime GA protocol, sans-IO: client events in, server events out. Knows no engine and no socket."""
