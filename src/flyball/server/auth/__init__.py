"""Tokens: who a connection is and what it may subscribe to, as the backend signed it.

Nothing is imported here: the options are read by every command, and the libraries for keys take
a while to load.
"""
