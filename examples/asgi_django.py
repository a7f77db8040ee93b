"""News in a Django project, all in one file: saved articles are told to everybody who listens.

Run it with ``uvicorn examples.asgi_django:app``. In a project of its own, what is below the
line goes to ``asgi.py``. The node starts with the server (Django has no lifespan of its own, so
``app`` answers it); servers without lifespan start it with the first connection.
"""

from __future__ import annotations

import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.db import connection, models, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

import flyball

if not settings.configured:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("DB", ":memory:")}
    settings.configure(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
        SECRET_KEY="example",
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()

node = flyball.Node()


@node.on_connecting
def who(event: flyball.Connecting) -> flyball.Credentials:
    subs = {"news": flyball.SubscribeOptions()}  # everybody gets these, without asking
    return flyball.Credentials(user="reader", subs=subs)


class Article(models.Model):
    """Its saves are told once they are committed, and not if they are rolled back."""

    headline = models.CharField(max_length=200)

    class Meta:
        app_label = "news"

    def save(self, *args: Any, **kwargs: Any) -> None:
        super().save(*args, **kwargs)
        transaction.on_commit(self.tell)

    def tell(self) -> None:
        # Models are saved in threads, by management commands, in tests: a node that does not
        # run here has nobody to tell.
        if node.running:
            node.threadsafe.publish("news", {"id": self.pk, "headline": self.headline})


def migrate() -> None:
    """What ``manage.py migrate`` does in a project."""
    with connection.schema_editor() as editor:
        editor.create_model(Article)


@csrf_exempt
@require_POST
async def announce(request: HttpRequest) -> JsonResponse:
    """An async view awaits the node."""
    await node.publish("news", {"headline": request.POST["headline"]})
    return JsonResponse({"readers": node.hub.num_clients})


@csrf_exempt
@require_POST
def articles(request: HttpRequest) -> JsonResponse:
    """A plain view: Django runs it on a thread."""
    with transaction.atomic():
        article = Article.objects.create(headline=request.POST["headline"])
    return JsonResponse({"id": article.pk}, status=201)


urlpatterns = [path("announce", announce), path("articles", articles)]

# ---- asgi.py

application = get_asgi_application()
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
        await application(scope, receive, send)
