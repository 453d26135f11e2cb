"""Carriers of a session: WebSocket and WebRTC connections, and sessions that outlive them."""
