"""Flyball: real-time messaging inside a Python program, and the engine of the server."""
