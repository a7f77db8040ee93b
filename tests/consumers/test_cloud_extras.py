"""What is said when a library is not installed."""

import sys

import pytest
from consumer_world import World

from flyball.core.errors import ConfigError

SECTIONS = {
    "aws_sqs": ("sqs", {"queues": ["https://host/1/queue"], "region": "eu-west-1"}),
    "google_pub_sub": ("pubsub", {"project_id": "project", "subscriptions": ["sub"]}),
    "azure_service_bus": ("servicebus", {"connection_string": "a=b", "queues": ["queue"]}),
}
"""The extra, and what must be there."""


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_extra_is_named(kind, tmp_path, monkeypatch):
    extra, section = SECTIONS[kind]
    monkeypatch.setitem(sys.modules, f"flyball.server.consumers.{extra}", None)
    with pytest.raises(ConfigError) as error:
        World(tmp_path / "config.json", {"type": kind, kind: section})
    said = f'consumers[0].{kind}: it needs an extra: pip install "flyball[{extra}]"'
    assert str(error.value).startswith(said)
