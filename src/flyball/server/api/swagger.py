"""The page that documents the server API and lets it be tried out: Swagger UI, as published."""

from __future__ import annotations

import json
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from flyball.http.messages import Response
from flyball.http.routes import Route
from flyball.http.static import METHODS, content_type, static_route
from flyball.server.http.pages import PAGE_HEADERS, content_policy

if TYPE_CHECKING:
    from flyball.http.messages import RequestHead

FOLDER: Final = "vendor/swagger-ui-dist-5.35.0"
"""Swagger UI inside the package; see scripts/vendor.py."""
DOCUMENT: Final = "openapi.json"
_FILES: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
_OPTION: Final = "swagger.handler_prefix"
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>Flyball server API</title>
  <link rel="icon" type="image/png" href="{base}/favicon-32x32.png">
  <link rel="stylesheet" href="{base}/swagger-ui.css">
</head>
<body>
  <div id="page" data-document="{base}/openapi.json"></div>
  <noscript>The page needs JavaScript; the document itself is <a href="{base}/openapi.json">here</a>.</noscript>
  <script src="{base}/swagger-ui-bundle.js"></script>
  <script src="{base}/start.js"></script>
</body>
</html>
"""
_START: Final = """\
// The key stays in this page; nothing is asked of other servers.
SwaggerUIBundle({
  url: document.getElementById("page").dataset.document,
  dom_id: "#page",
  validatorUrl: null,
  deepLinking: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
});
"""


def swagger_routes(prefix: str, document: dict[str, Any]) -> list[Route]:
    """The page at ``prefix``, what it is made of, and the document, ``openapi.json`` below it."""
    row = partial(static_route, headers=PAGE_HEADERS, option=_OPTION, internal=True, compress=True)
    static = files("flyball.server.http").joinpath("static", *FOLDER.split("/"))
    text = json.dumps(document, indent=1).encode()
    page = partial(_page, _PAGE.format(base=prefix).encode())
    return [
        *(
            Route(path, page, methods=METHODS, option=_OPTION, internal=True)
            for path in (prefix or "/", f"{prefix}/")
        ),
        *(
            row(f"{prefix}/{name}", static.joinpath(name).read_bytes(), content_type(name))
            for name in _FILES
        ),
        row(f"{prefix}/start.js", _START.encode(), content_type("start.js")),
        row(f"{prefix}/{DOCUMENT}", text, content_type(DOCUMENT)),
    ]


def _page(text: bytes, head: RequestHead, _body: bytes) -> Response:
    # Swagger UI sets styles of its own, and has its pictures inside the style sheet.
    policy = content_policy(head, "'unsafe-inline'", images="data:")
    headers = (*PAGE_HEADERS, policy, ("Cache-Control", "no-cache"))
    return Response(text, content_type=content_type("index.html"), headers=headers)
