"""WebSocket (RFC 6455) on a plain asyncio protocol, with a codec of our own."""
