"""The server: HTTP for the page, a WebSocket for each conversation, the engines they share."""
