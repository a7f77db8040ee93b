"""Requests that are streams of one connection: what HTTP/2 and HTTP/3 have in common.

A stream is a wire like that of a TCP connection, so that the WebSocket and streaming transports
run on it as they are.
"""
