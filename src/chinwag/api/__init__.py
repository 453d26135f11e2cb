"""The HTTP routes beside the Realtime API, one module a route."""
