"""The client protocol: messages to and from bytes, delta, filters, codes. Pure."""
