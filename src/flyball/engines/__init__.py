"""Engines: where publications and presence are kept, one module for each technology."""
