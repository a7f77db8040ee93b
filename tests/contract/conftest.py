import pytest
from contract_engines import ENGINES, Recorder


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
