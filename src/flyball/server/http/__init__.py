"""Endpoints of the server that are no transports and no API: health, metrics, the demo page."""

from flyball.server.http.demo import DemoOptions, demo_routes
from flyball.server.http.endpoints import WorkerMetrics, health_route, metrics_route

__all__ = ["DemoOptions", "WorkerMetrics", "demo_routes", "health_route", "metrics_route"]
