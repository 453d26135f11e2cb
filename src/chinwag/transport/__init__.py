"""WebSocket and WebRTC connections, and the sessions that outlive them."""
