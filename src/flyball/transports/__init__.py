"""Transports: carry bytes to and from sessions."""
