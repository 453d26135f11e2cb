"""What one server process holds: loaded engines, running sessions, admission, limits and authentication."""
