"""The health endpoint: green as long as clients are served, red with the reason otherwise."""

import json

from flyball.server.common.health import Health
from flyball.server.http import health_route


def test_green():
    answer = health_route().handler(None, b"")
    assert (answer.status, answer.body) == (200, b"{}")


def test_red():
    problems = ["redis: no answer"]
    route = health_route("/health", lambda: Health(problems))
    answer = route.handler(None, b"")
    assert answer.status == 503
    assert json.loads(answer.body) == {"problems": ["redis: no answer"]}
    problems.clear()
    assert route.handler(None, b"").status == 200


def test_a_consumer_takes_no_node_out_of_service():
    degraded = ["consumer orders, group: no broker"]
    answer = health_route("/health", lambda: Health([], degraded)).handler(None, b"")
    assert answer.status == 200
    assert json.loads(answer.body) == {"degraded": degraded}
    answer = health_route("/health", lambda: Health(["redis: away"], degraded)).handler(None, b"")
    assert answer.status == 503
    assert json.loads(answer.body) == {"problems": ["redis: away"], "degraded": degraded}
