"""The health endpoint: green as long as the engine works, red with the reason otherwise."""

import json

from flyball.server.http import health_route


def test_green():
    answer = health_route().handler(None, b"")
    assert (answer.status, answer.body) == (200, b"{}")


def test_red():
    problems = ["redis: no answer"]
    route = health_route("/health", lambda: problems)
    answer = route.handler(None, b"")
    assert answer.status == 503
    assert json.loads(answer.body) == {"problems": ["redis: no answer"]}
    problems.clear()
    assert route.handler(None, b"").status == 200
