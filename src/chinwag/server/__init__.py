"""The FastAPI application and its process: routes, health, LAN mode and graceful shutdown."""
