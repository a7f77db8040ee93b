"""Connections that an ASGI server brings: WebSocket and streaming responses."""
