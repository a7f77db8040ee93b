"""The HTTP side of the server beside the transports: which endpoint is where, and the small ones.

Everything is plain ASGI, to be served by any ASGI server or mounted in another app.
"""

from .demo import DemoOptions, demo_routes
from .endpoints import health_route, init_route, metrics_route
from .router import Apps, Route, Router, build_apps

__all__ = [
    "Apps",
    "DemoOptions",
    "Route",
    "Router",
    "build_apps",
    "demo_routes",
    "health_route",
    "init_route",
    "metrics_route",
]
