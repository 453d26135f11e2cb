"""The FastAPI application and the process around it: routes, health, LAN mode, start and graceful shutdown."""
