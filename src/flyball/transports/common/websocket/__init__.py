"""WebSocket connections (RFC 6455), whatever is said over them."""
