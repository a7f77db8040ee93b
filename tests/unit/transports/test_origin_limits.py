import pytest

from flyball.core.errors import ConfigError
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy


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
        (("http://a-[b-d]~ &.org",), "http://a-c~ &.org", True),
        (("http://é?.org",), "http://éü.org", True),
        (("http://" + "*a" * 30,), "http://" + "a" * 4000 + "!", False),
    ],
)
def test_origin_globs(patterns, origin, allowed):
    policy = OriginPolicy(patterns)
    assert policy.allows(origin) is allowed
    assert policy.allows(origin) is allowed  # remembered


@pytest.mark.parametrize("patterns", [(), ["http://a.org"]])
def test_a_refused_origin_is_told_once(patterns, caplog):
    caplog.set_level("INFO", "flyball.transports")
    policy = OriginPolicy(patterns)
    for origin in ("http://b.org", None, "http://b.org", "x" * 300):
        policy.allows(origin)
    told = "pages of 'http://b.org' may not connect: not in client.allowed_origins"
    assert caplog.messages == [told]


def test_refused_origins_do_not_fill_the_log(caplog):
    caplog.set_level("INFO", "flyball.transports")
    policy = OriginPolicy()
    for number in range(2000):
        policy.allows(f"http://{number}.org")
    assert len(caplog.messages) == 1024


@pytest.mark.parametrize("pattern", ["http://[a", "http://{a,b", "http://a\\"])
def test_malformed_globs_are_named(pattern):
    with pytest.raises(ConfigError, match="allowed origin"):
        OriginPolicy([pattern])


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("example.com", "https://example.com"),
        ("localhost:3000/", "https://localhost:3000"),
        ("//example.com", "https://example.com"),
        ("://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("https://*.example.com/app", "https://*.example.com"),
        ("https://example.com ", "https://example.com"),
        ("https://", "the host"),
        ("", "the host"),
    ],
)
def test_a_pattern_that_matches_nothing_is_an_error_that_says_how_to_write_it(pattern, advice):
    with pytest.raises(ConfigError, match="matches no web page") as caught:
        OriginPolicy([pattern])
    assert advice in str(caught.value).partition("matches")[2]


@pytest.mark.parametrize("pattern", ["null", "*", "*.example.com", "*://a.b", "http?://a", "{a,b}"])
def test_patterns_that_may_match_are_none(pattern):
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


def test_refused_connections_are_told_once_a_minute(caplog):
    now = 100.0
    refused = []
    limits = ConnectionLimits(
        lambda: 1, limit=1, monotonic=lambda: now, on_refused=lambda: refused.append(now)
    )
    for moment in (100.0, 101.0, 159.9, 160.0):
        now = moment
        assert not limits.admits()
    assert caplog.messages == ["connections are refused: limit is reached"] * 2
    assert len(refused) == 4
    caplog.clear()
    limits = ConnectionLimits(lambda: 0, rate_limit=1, monotonic=lambda: now)
    assert [limits.admits() for _ in range(3)] == [True, False, False]
    assert caplog.messages == ["connections are refused: rate_limit is reached"]
