"""The OpenAPI document is valid, says what is served, and fits what is answered."""

import json
from pathlib import Path

import jsonschema
import pytest
from asking import ask
from openapi_spec_validator import OpenAPIV31SpecValidator
from typer.testing import CliRunner

from flyball.cli.app import app
from flyball.server.api.methods import METHODS
from flyball.server.api.openapi import openapi
from flyball.server.api.swagger import swagger_routes

ROOT = Path(__file__).parents[3]
EXAMPLES = [
    json.loads(line)
    for line in (ROOT / "tests/golden/server-api-examples.jsonl").read_text().splitlines()
]


@pytest.fixture(scope="module")
def document():
    return openapi(version="1.0")


def test_it_is_valid(document):
    OpenAPIV31SpecValidator(document).validate()


def test_every_method_that_is_served_is_described(document):
    served = {method.route for method in METHODS.values() if method.available}
    assert set(document["paths"]) == served
    for path in document["paths"].values():
        assert path["post"]["summary"].endswith(".")


def test_without_a_key_no_key_is_described():
    document = openapi(insecure=True)
    OpenAPIV31SpecValidator(document).validate()
    assert "security" not in document


def checker(document, schema):
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


def exchanges(status):
    for example in EXAMPLES:
        request, response = example.get("request", {}), example.get("response", {})
        method = str(request.get("path", "")).removeprefix("/api/")
        if method in METHODS and response.get("status") == status:
            yield method, request, response


def test_recorded_answers_fit(document):
    """Of the real server: the examples of the facts."""
    count = 0
    for method, _request, response in exchanges(200):
        operation = document["paths"][f"/{method}"]["post"]
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        body = response["body"]
        checker(document, schema).validate(json.loads(body) if isinstance(body, str) else body)
        count += 1
    assert count > 50


def test_the_page_and_what_it_is_made_of(document):
    routes = swagger_routes("/swagger", document)
    for path, kind in {
        "/swagger": "text/html",
        "/swagger/": "text/html",
        "/swagger/openapi.json": "application/json",
        "/swagger/start.js": "text/javascript",
        "/swagger/swagger-ui-bundle.js": "text/javascript",
        "/swagger/swagger-ui.css": "text/css",
    }.items():
        answer = ask(routes, "GET", path, "", {}, b"")
        assert answer.status == 200
        assert answer.content_type.startswith(kind)
    assert all(route.internal for route in routes)
    body = ask(routes, "GET", "/swagger/openapi.json", "", {}, b"").body
    assert json.loads(body) == document


def test_the_command(tmp_path):
    config = tmp_path / "config.json"
    config.write_text('{"http_api": {"handler_prefix": "/backend"}}')
    result = CliRunner().invoke(app, ["openapi", "-c", str(config)])
    assert result.exit_code == 0
    assert json.loads(result.output)["servers"] == [{"url": "/backend"}]
    result = CliRunner().invoke(app, ["openapi", "-c", str(tmp_path / "none.json")])
    assert result.exit_code == 1
    assert "config file not found" in result.output
