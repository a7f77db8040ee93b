"""The server API: what backends call to publish, inspect and control."""
