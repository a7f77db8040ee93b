import pytest
from contract_engines import ENGINES, LACKING, Recorder


def pytest_collection_modifyitems(config, items):
    """Leaves out tests of what an engine does not have (``pytest.mark.needs``)."""
    kept, left_out = [], []
    for item in items:
        engine = getattr(item, "callspec", None) and item.callspec.params.get("engine")
        needed = {ability for mark in item.iter_markers("needs") for ability in mark.args}
        (left_out if needed & LACKING.get(engine, set()) else kept).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.fixture(params=list(ENGINES))
async def engine(request):
    engine = ENGINES[request.param]()
    yield engine
    await engine.close()


@pytest.fixture
def events():
    return Recorder()


@pytest.fixture
async def broker(engine, events):
    """A started broker, subscribed to ``ch``."""
    broker = engine.broker()
    await broker.start(events)
    await broker.subscribe("ch")
    yield broker
    await broker.close()


@pytest.fixture
async def presence(engine):
    manager = engine.presence_manager(presence_ttl=10.0)
    await manager.start()
    yield manager
    await manager.close()
