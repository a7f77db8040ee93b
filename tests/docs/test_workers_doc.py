"""docs/workers.md: its configuration is run, and what it says of options holds."""

import json
import os
import re

from manyworkers import Workers
from processes import FLYBALL, ROOT, Program
from waiting import wait_for

TEXT = (ROOT / "docs" / "workers.md").read_text()


def configuration():
    return json.loads(re.search(r"```json\n(.*?)```", TEXT, re.DOTALL)[1])


def test_configuration(tmp_path):
    config = configuration()
    config["http_server"].pop("port")
    workers = Workers(tmp_path, 0, **config)
    assert workers.count == 2
    workers.wait_until_all_know_each_other()
    wait_for(lambda: workers.health() == (200, []), "health of all")
    offsets = [workers.call("publish", channel="a", data={})["offset"] for _ in range(8)]
    assert offsets == list(range(1, 9))
    status, page = workers.fetch("/metrics")
    assert status == 200
    assert b"centrifugo_node_num_nodes 2.0" in page
    assert workers.program.stop() == 0


def test_engines_that_leave_workers_alone_are_refused(tmp_path):
    config = configuration()
    file = tmp_path / "config.json"
    for section, key in (
        ({"broker": {"enabled": True, "type": "memory"}}, "broker.type"),
        ({"presence_manager": {"enabled": True, "type": "memory"}}, "presence_manager.type"),
    ):
        file.write_text(json.dumps({**config, **section}))
        with Program(str(FLYBALL), "checkconfig", "-c", str(file)) as checked:
            assert checked.end() == 1
            assert f"error: {key}" in checked.output


def test_the_flag_and_the_variable(tmp_path):
    file = tmp_path / "config.json"
    file.write_text("{}")
    for flags, value in ((("--workers", "0"), "129"), ((), "129")):
        environ = {**os.environ, "FLYBALL_HTTP_SERVER_WORKERS": value}
        with Program(str(FLYBALL), "-c", str(file), *flags, env=environ) as server:
            assert server.end() == 1
            wrong = "0 is" if flags else "129 is"
            assert f"{wrong} not allowed; use 1 to 128" in server.output
