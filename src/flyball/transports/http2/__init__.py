"""HTTP/2 (RFC 9113), over TLS by ALPN or in clear by prior knowledge."""
