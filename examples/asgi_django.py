"""Notifications in a Django project, all in one file: a view publishes, clients listen.

Run it with ``uvicorn examples.asgi_django:app``. In a project of its own, what is below the
line goes to ``asgi.py``. Django has no lifespan: the node starts with the first connection.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

import flyball

if not settings.configured:
    settings.configure(
        ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"], SECRET_KEY="example"
    )

node = flyball.Node()


@node.on_connecting
def who(event: flyball.Connecting) -> flyball.Credentials:
    subs = {"news": flyball.SubscribeOptions()}  # everybody gets these, without asking
    return flyball.Credentials(user="reader", subs=subs)


@csrf_exempt
@require_POST
async def announce(request: HttpRequest) -> JsonResponse:
    await node.publish("news", {"headline": request.POST["headline"]})
    return JsonResponse({"readers": node.hub.num_clients})


urlpatterns = [path("announce", announce)]

# ---- asgi.py

django = get_asgi_application()
connections = flyball.asgi.app(node, origins=["http://localhost:*"])


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Connections to Flyball, everything else to Django."""
    prefix = "/connection"
    if scope["type"] == "lifespan":
        await connections(scope, receive, send)  # for servers that have it
    elif scope["path"].startswith(f"{prefix}/"):
        root = scope.get("root_path", "") + prefix
        await connections({**scope, "root_path": root}, receive, send)
    else:
        await django(scope, receive, send)
