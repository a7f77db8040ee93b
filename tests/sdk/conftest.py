"""The server as a user starts it, for the official SDKs to talk to."""

import gc
import json
from pathlib import Path

import pytest
from sdk_browser import browser, page, site  # noqa: F401 - fixtures
from sdk_server import API_KEY, SECRET, ServerProcess

NAMESPACES = [
    {
        "name": "chat",
        "presence": True,
        "join_leave": True,
        "force_push_join_leave": True,
        "history_size": 50,
        "history_ttl": "300s",
        "force_recovery": True,
        "allow_subscribe_for_client": True,
        "allow_publish_for_subscriber": True,
        "allow_presence_for_subscriber": True,
        "allow_history_for_subscriber": True,
    },
    {
        "name": "short",
        "history_size": 2,
        "history_ttl": "300s",
        "force_recovery": True,
        "allow_subscribe_for_client": True,
    },
    {
        "name": "cache",
        "history_size": 1,
        "history_ttl": "300s",
        "force_recovery": True,
        "force_recovery_mode": "cache",
        "auto_cache_recover": True,
        "allow_subscribe_for_client": True,
    },
    {
        "name": "delta",
        "history_size": 50,
        "history_ttl": "300s",
        "force_recovery": True,
        "allowed_delta_types": ["fossil"],
        "delta_publish": True,
        "allow_subscribe_for_client": True,
    },
    {
        "name": "tags",
        "history_size": 50,
        "history_ttl": "300s",
        "force_recovery": True,
        "allow_tags_filter": True,
        "allow_subscribe_for_client": True,
    },
    {"name": "private", "presence": True},
    {
        "name": "bin",
        "publication_data_format": "binary",
        "allow_subscribe_for_client": True,
        "allow_publish_for_client": True,
    },
]

CONFIG = {
    "client": {
        "token": {"hmac_secret_key": SECRET},
        # Some clients here answer no pings, and others are slow on a busy machine.
        "stale_close_delay": "60s",
        "ping_interval": "120s",
        "pong_timeout": "60s",
        "expired_close_delay": "1s",
        "expired_sub_close_delay": "1s",
        "presence_update_interval": "1s",
        "channel_limit": 20,
        "subscribe_to_user_personal_channel": {"enabled": True},
    },
    "rpc": {"ping": {"enabled": True}},
    "http_api": {"key": API_KEY},
    "health": {"enabled": True},
    "sockjs": {"enabled": True},
    "channel": {"namespaces": NAMESPACES},
}


@pytest.fixture(scope="session")
def config_file(tmp_path_factory):
    """A configuration with a namespace for each thing the SDKs can do."""
    file = tmp_path_factory.mktemp("server") / "config.json"
    file.write_text(json.dumps(CONFIG))
    return file


@pytest.fixture(scope="session")
def server(config_file):
    """``flyball -c config.json``, shared by the tests: each uses channels and users of its own."""
    with ServerProcess(config_file) as process:
        yield process


@pytest.fixture(scope="session")
def pinging_config(config_file, tmp_path_factory):
    """The same with pings that come while a test looks."""
    config = json.loads(config_file.read_text())
    config["client"] |= {"ping_interval": "3s", "pong_timeout": "2s"}
    file = tmp_path_factory.mktemp("pinging") / "config.json"
    file.write_text(json.dumps(config))
    return file


@pytest.fixture(scope="session")
def pinging(pinging_config):
    """A server that pings often, and waits shortly for the answer."""
    with ServerProcess(pinging_config) as process:
        yield process


@pytest.fixture
def own_server(config_file):
    """A server that a test may stop."""
    with ServerProcess(config_file) as process:
        yield process


def pytest_collection_modifyitems(items):
    """The published clients leave sockets to the garbage collector: not for us to fail on."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )


@pytest.fixture(autouse=True)
def garbage_of_clients():
    """Collects it here, lest another test is blamed for it."""
    yield
    gc.collect()
