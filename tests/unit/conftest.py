"""What many unit tests stand on."""

import pytest
from certificates import self_signed

from flyball.testing import ControlBus, ControlledBroker, TestClock


@pytest.fixture
def clock():
    """The time, which a test moves."""
    return TestClock()


@pytest.fixture
def broker(clock):
    """A broker whose calls a test lets go on, or fail."""
    return ControlledBroker(clock)


@pytest.fixture
def bus():
    """What the nodes of a test hear one another on."""
    return ControlBus()


@pytest.fixture(scope="session")
def certificate():
    """A certificate and its key, in PEM."""
    return self_signed()
