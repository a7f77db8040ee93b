"""The server: configuration, auth, channel rules, API, metrics, built on the library."""
