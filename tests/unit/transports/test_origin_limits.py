import pytest

from flyball.core.errors import ConfigError
from flyball.transports.limits import ConnectionLimits
from flyball.transports.origin import OriginPolicy


@pytest.mark.parametrize(
    ("patterns", "origin", "allowed"),
    [
        ((), None, True),
        ((), "", True),
        ((), "http://a.example.com", False),
        (("*",), "http://anything", True),
        (("https://*.example.com",), "https://a.example.com", True),
        (("https://*.example.com",), "https://a.b.example.com", True),
        (("https://*.example.com",), "HTTPS://A.Example.com", True),
        (("https://*.example.com",), "http://a.example.com", False),
        (("https://*.example.com",), "https://a.example.com.evil.org", False),
        (("https://*.example.com",), "https://aXexample.com", False),
        (("http://h?st",), "http://host", True),
        (("http://h?st",), "http://h.st", True),
        (("http://one", "http://two"), "http://two", True),
        (("http://one", "http://two"), "http://one|http://two", False),
        (("http://{a,b}.org",), "http://b.org", True),
        (("http://{a,b}.org",), "http://c.org", False),
        (("http://[ab].org",), "http://a.org", True),
        (("http://[!ab].org",), "http://a.org", False),
        ((r"http://\*.org",), "http://*.org", True),
        ((r"http://\*.org",), "http://a.org", False),
    ],
)
def test_origin_globs(patterns, origin, allowed):
    policy = OriginPolicy(patterns)
    assert policy.allows(origin) is allowed
    assert policy.allows(origin) is allowed  # remembered


@pytest.mark.parametrize("pattern", ["http://[a", "http://{a,b", "http://a\\"])
def test_malformed_globs_are_named(pattern):
    with pytest.raises(ConfigError, match="allowed origin"):
        OriginPolicy([pattern])


def test_rate_limit_refills_one_each_second():
    now = 100.0
    limits = ConnectionLimits(lambda: 0, rate_limit=2, monotonic=lambda: now)
    assert [limits.admits() for _ in range(3)] == [True, True, False]
    now += 1.0
    assert [limits.admits() for _ in range(2)] == [True, False]
    now += 60.0
    assert [limits.admits() for _ in range(3)] == [True, True, False]


def test_connection_limit_counts_clients():
    clients = 1
    limits = ConnectionLimits(lambda: clients, limit=2)
    assert limits.admits()
    clients = 2
    assert not limits.admits()
