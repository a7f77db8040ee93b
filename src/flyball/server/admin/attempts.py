"""How often passwords may be tried: from one address, and by all strangers together."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from flyball.aio.clock import Clock

__all__ = ["Attempts", "Pace"]

T = TypeVar("T")

MAX_ADDRESSES: Final = 4096
"""Addresses that are remembered; who tried longest ago is forgotten first."""
_HOST_BITS: Final = 64
"""Of an IPv6 address: whoever has one has all addresses that differ in these alone."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast."""

    burst: int
    """Tries that may come at once."""
    every: float
    """Seconds after which one more is allowed."""


ONE_ADDRESS: Final = Pace(10, 6.0)
EVERYBODY: Final = Pace(100, 0.6)


class _Budget:
    """What is left of a pace."""

    __slots__ = ("_left", "_pace", "_seen")

    def __init__(self, pace: Pace, now: float) -> None:
        self._pace = pace
        self._left = float(pace.burst)
        self._seen = now

    def wait(self, now: float) -> float:
        """Seconds until there is one try; 0: there is one."""
        pace = self._pace
        self._left = min(pace.burst, self._left + (now - self._seen) / pace.every)
        self._seen = now
        return 0.0 if self._left >= 1 else (1 - self._left) * pace.every

    def add(self, tries: int) -> None:
        """Takes a try (-1) or gives one back."""
        self._left = min(self._pace.burst, self._left + tries)


class Attempts:
    """Bounds how often passwords are tried.

    Each address has a budget, and all of them share a larger one, so that many addresses are of
    little use. An address from which somebody signed in is not held up by that one: strangers
    cannot lock an operator out.

    Args:
        clock: refills the budgets.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._everybody = _Budget(EVERYBODY, clock.monotonic())
        self._addresses: OrderedDict[str, _Budget] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def take(self, address: str) -> float:
        """Takes one try: 0, or the seconds to wait for one."""
        now, network = self._clock.monotonic(), _network(address)
        own = self._budget(network, now)
        budgets = (own,) if network in self._known else (own, self._everybody)
        wait = max(budget.wait(now) for budget in budgets)
        if not wait:
            for budget in budgets:
                budget.add(-1)
        return wait

    def succeeded(self, address: str) -> None:
        """The password was right: the try is given back, and the address remembered."""
        now, network = self._clock.monotonic(), _network(address)
        self._budget(network, now).add(1)
        if network not in self._known:
            self._everybody.add(1)
        _remember(self._known, network, None)

    def _budget(self, network: str, now: float) -> _Budget:
        found = self._addresses.get(network) or _Budget(ONE_ADDRESS, now)
        _remember(self._addresses, network, found)
        return found


def _remember(table: OrderedDict[str, T], key: str, value: T) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > MAX_ADDRESSES:
        table.popitem(last=False)


def _network(address: str) -> str:
    """What one stranger has of addresses; an address that is none of IP stands for itself."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed), 128 - _HOST_BITS), strict=False))
    return str(parsed)
