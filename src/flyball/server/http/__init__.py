"""Endpoints of the server that are no transports and no API: health, metrics, the demo page."""

from flyball.server.http.demo import DemoOptions, demo_routes
from flyball.server.http.endpoints import health_route, metrics_route
from flyball.server.http.siblings import HEALTH, METRICS, Siblings

__all__ = [
    "HEALTH",
    "METRICS",
    "DemoOptions",
    "Siblings",
    "demo_routes",
    "health_route",
    "metrics_route",
]
