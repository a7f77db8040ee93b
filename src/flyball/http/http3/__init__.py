"""HTTP/3 over UDP, and WebTransport on it (needs the extra ``http3``)."""
