"""Tools that the model may call: Python functions, MCP servers, and what a client answers itself."""
