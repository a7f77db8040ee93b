import pytest
from consumer_sources import SOURCES


@pytest.fixture(params=list(SOURCES), scope="module")
def running(request):
    source = SOURCES[request.param]()
    yield source
    source.stop()


@pytest.fixture
def source(running, monkeypatch):
    for name, value in getattr(running, "environment", {}).items():
        monkeypatch.setenv(name, value)
    running.clear()
    return running
