"""Transports: what carries bytes between clients and sessions."""
