"""Responses that do not end: HTTP streaming and server-sent events, in both directions and one."""
