"""Key sets from an endpoint, against a server on loopback."""

import asyncio

import pytest
import structlog
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from flyball.aio.eager import start_eagerly
from flyball.core.errors import Error
from flyball.server.auth import jwks as jwks_module
from flyball.server.auth.errors import InvalidToken
from flyball.server.auth.jwks import JwksClient
from flyball.server.auth.options import TokenOptions
from flyball.server.auth.verifier import TokenVerifier
from flyball.testing import TestClock

NOW = 1_800_000_000
# joserfc calls the registered name of EdDSA deprecated (RFC 9864); tokens still carry it.
pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")


class Endpoint:
    """A key set server; ``answer`` may be replaced by anything."""

    def __init__(self):
        self.keys = []
        self.requests = 0
        self.answer = None

    async def handle(self, request):
        self.requests += 1
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response({"keys": self.keys})


@pytest.fixture
async def endpoint():
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_get("/{path:.*}", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    endpoint.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    yield endpoint
    await runner.cleanup()


@pytest.fixture
def clock():
    return TestClock(NOW)


@pytest.fixture
async def clients(clock):
    """Makes clients, with limits of their own."""
    made = []

    def make(**limits):
        made.append(JwksClient(clock, **limits))
        return made[-1]

    yield make
    for client in made:
        await client.close()


@pytest.fixture
def client(clients):
    return clients()


def verifier(endpoint, clock, client, **options):
    options = {"jwks_public_endpoint": endpoint.url, **options}
    return TokenVerifier(TokenOptions(**options), clock, client)


def published(key, kid, **extra):
    return {**key.as_dict(private=False), "kid": kid, "use": "sig", **extra}


def token(key, algorithm, kid, **claims):
    header = {"alg": algorithm, "kid": kid}
    return jwt.encode(header, {"sub": "42", **claims}, key, algorithms=[algorithm])


KEYS = {
    "RS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}


@pytest.mark.parametrize("algorithm", KEYS)
async def test_kinds_of_keys(endpoint, clock, client, algorithm):
    key = KEYS[algorithm]
    endpoint.keys = [published(key, "k1")]
    checking = verifier(endpoint, clock, client)
    for _ in range(3):
        assert (await checking.verify_connect_token(token(key, algorithm, "k1"))).user == "42"
    assert endpoint.requests == 1


async def test_many_at_once_ask_once(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    checking = verifier(endpoint, clock, client)
    text = token(KEYS["ES256"], "ES256", "k1")
    verified = await asyncio.gather(*(checking.verify_connect_token(text) for _ in range(50)))
    assert len(verified) == 50
    assert endpoint.requests == 1


async def test_unknown_kids_neither_flood_nor_push_out(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    checking = verifier(endpoint, clock, client)
    good = token(KEYS["ES256"], "ES256", "k1")
    await checking.verify_connect_token(good)
    for i in range(200):
        with pytest.raises(InvalidToken, match="kid"):
            await checking.verify_connect_token(token(KEYS["ES256"], "ES256", f"x{i}"))
    assert endpoint.requests == 1
    endpoint.keys = []
    clock.advance(jwks_module.LOOK_AGAIN)
    with pytest.raises(InvalidToken):
        await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "another"))
    assert endpoint.requests == 2
    assert (await checking.verify_connect_token(good)).user == "42"


async def test_rotation(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "old")]
    checking = verifier(endpoint, clock, client)
    await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "old"))
    endpoint.keys = [published(KEYS["RS256"], "new")]
    clock.advance(jwks_module.LOOK_AGAIN)
    verified = await checking.verify_connect_token(token(KEYS["RS256"], "RS256", "new"))
    assert verified.user == "42"
    clock.advance(jwks_module.KEEP + 1)
    with pytest.raises(InvalidToken):
        await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "old"))


async def test_what_a_key_is_for_counts(endpoint, clock, client):
    key = KEYS["RS256"]
    endpoint.keys = [
        published(key, "enc") | {"use": "enc"},
        published(key, "other", alg="RS512"),
        {**key.as_dict(private=False), "use": "sig"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "use": "sig"},
        "nonsense",
    ]
    checking = verifier(endpoint, clock, client)
    for kid in ("enc", "other", "oct", "missing"):
        with pytest.raises(InvalidToken):
            await checking.verify_connect_token(token(key, "RS256", kid))
    with pytest.raises(InvalidToken, match="kid"):
        await checking.verify_connect_token(token(key, "RS256", ""))


async def test_own_keys_are_ignored(endpoint, clock, client):
    from flyball.server.auth.make import sign

    checking = verifier(endpoint, clock, client, hmac_secret_key="secret")
    with pytest.raises(InvalidToken):
        await checking.verify_connect_token(sign({"sub": "42"}, "secret"))


async def _status(_request):
    return web.Response(status=500)


async def _redirect(_request):
    raise web.HTTPFound("http://127.0.0.1:1/elsewhere")


async def _garbage(_request):
    return web.Response(text="<html>")


async def _huge(_request):
    return web.Response(body=b'{"keys":[' + b" " * (2 * jwks_module.MAX_SIZE) + b"]}")


async def _slow(_request):
    await asyncio.Event().wait()


@pytest.mark.parametrize("answer", [_status, _redirect, _garbage, _huge, _slow])
async def test_an_endpoint_that_fails_is_a_temporary_error(endpoint, clock, clients, answer):
    client = clients(timeout=0.05 if answer is _slow else jwks_module.TIMEOUT)
    endpoint.answer = answer
    checking = verifier(endpoint, clock, client)
    with pytest.raises(Error) as caught:
        await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1"))
    assert (caught.value.code, caught.value.temporary) == (100, True)
    assert endpoint.requests == jwks_module.TRIES
    endpoint.answer = None
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    clock.advance(jwks_module.LOOK_AGAIN)
    verified = await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1"))
    assert verified.user == "42"


async def test_endpoint_by_issuer(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    checking = verifier(
        endpoint,
        clock,
        client,
        jwks_public_endpoint=endpoint.url.replace("keys", "{{tenant}}/keys"),
        issuer_regex="^https://(?P<tenant>one|two)\\.example\\.com$",
    )
    text = token(KEYS["ES256"], "ES256", "k1", iss="https://one.example.com")
    assert (await checking.verify_connect_token(text)).user == "42"
    for issuer in ("https://three.example.com", "https://one.example.com.evil", ""):
        with pytest.raises(InvalidToken):
            await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1", iss=issuer))
    assert endpoint.requests == 1


async def test_unsafe_template_stays_in_its_path(endpoint, clock, client):
    checking = verifier(
        endpoint,
        clock,
        client,
        jwks_public_endpoint=endpoint.url.replace("keys", "{{tenant}}/keys"),
        issuer_regex="^(?P<tenant>.+)$",
        insecure_skip_jwks_endpoint_safety_check=True,
    )
    for issuer in ("../admin", "a b", "a//b", "./x"):
        with pytest.raises(InvalidToken, match="unclean"):
            await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1", iss=issuer))
    assert endpoint.requests == 0


async def test_callers_without_a_task(endpoint, clock, client):
    """A verification begun by hand goes on in a task; later ones do not wait at all."""
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    checking = verifier(endpoint, clock, client)
    text = token(KEYS["ES256"], "ES256", "k1")
    begun = start_eagerly(checking.verify_connect_token(text))
    assert isinstance(begun, asyncio.Task)
    assert (await begun).user == "42"
    assert start_eagerly(checking.verify_connect_token(text)).user == "42"


async def test_a_caller_who_goes_away_takes_nothing_along(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    checking = verifier(endpoint, clock, client)
    text = token(KEYS["ES256"], "ES256", "k1")
    first = asyncio.create_task(checking.verify_connect_token(text))
    second = asyncio.create_task(checking.verify_connect_token(text))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).user == "42"
    assert endpoint.requests == 1


async def test_closing_answers_who_waits(endpoint, clock):
    client = JwksClient(clock)
    asked = asyncio.Event()

    async def answer(_request):
        asked.set()
        await asyncio.Event().wait()

    endpoint.answer = answer
    checking = verifier(endpoint, clock, client)
    text = token(KEYS["ES256"], "ES256", "k1")
    waiting = asyncio.create_task(checking.verify_connect_token(text))
    await asked.wait()
    await client.close()
    for verification in (waiting, checking.verify_connect_token(text)):
        with pytest.raises(Error):
            await verification
    await client.close()


async def test_a_second_try_helps(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "k1")]

    async def answer(_request):
        endpoint.answer = None
        return web.Response(status=503)

    endpoint.answer = answer
    checking = verifier(endpoint, clock, client)
    verified = await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1"))
    assert (verified.user, endpoint.requests) == ("42", 2)


async def test_keys_in_use_stay_and_others_end(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    checking = verifier(endpoint, clock, client)
    text = token(KEYS["ES256"], "ES256", "k1")
    for _ in range(4):
        await checking.verify_connect_token(text)
        clock.advance(jwks_module.KEEP * 0.75)
    assert endpoint.requests == 1
    endpoint.answer = _status
    clock.advance(jwks_module.KEEP)
    with pytest.raises(Error):
        await checking.verify_connect_token(text)


async def test_a_failed_look_is_not_repeated_at_once(endpoint, clock, client):
    endpoint.answer = _status
    checking = verifier(endpoint, clock, client)
    text = token(KEYS["ES256"], "ES256", "k1")
    for _ in range(20):
        with pytest.raises(Error) as caught:
            await checking.verify_connect_token(text)
        assert caught.value.code == 100
    assert endpoint.requests == jwks_module.TRIES


async def test_redirects_are_not_followed(endpoint, clock, client):
    paths = []

    async def answer(request):
        paths.append(request.path)
        raise web.HTTPFound("/elsewhere")

    endpoint.answer = answer
    checking = verifier(endpoint, clock, client)
    with pytest.raises(Error):
        await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1"))
    assert set(paths) == {"/keys"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"keys":{}}',
        b'{"keys":' + b"[" * 200_000,
        b'{"keys":[' + b'{"a":' * 100_000,
        b'{"keys":"\xff"}',
    ],
)
async def test_answers_that_are_no_key_sets(endpoint, clock, client, body):
    async def answer(_request):
        return web.Response(body=body)

    endpoint.answer = answer
    checking = verifier(endpoint, clock, client)
    with pytest.raises(Error):
        await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1"))


async def test_broken_keys_do_not_spoil_the_set(endpoint, clock, client):
    good = published(KEYS["ES256"], "good")
    endpoint.keys = [
        None,
        1,
        {"kid": 1},
        {**good, "kid": "off-curve", "y": good["x"]},
        {**good, "kid": "no-curve", "crv": "P-1"},
        {**good, "kid": "no-text", "x": 1},
        published(KEYS["RS256"], "even", e="AA"),
        published(KEYS["RS256"], "huge", n="_" * 20_000),
        published(KEYS["RS256"], "small", n="_" * 80),
        published(KEYS["EdDSA"], "short", x="AAAA"),
        published(KEYS["EdDSA"], "x25519", crv="X25519"),
        good,
    ]
    checking = verifier(endpoint, clock, client)
    assert (await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "good"))).user == "42"
    for kid in ("off-curve", "no-curve", "no-text"):
        with pytest.raises(InvalidToken):
            await checking.verify_connect_token(token(KEYS["ES256"], "ES256", kid))
    for kid in ("even", "huge", "small"):
        with pytest.raises(InvalidToken):
            await checking.verify_connect_token(token(KEYS["RS256"], "RS256", kid))
    for kid in ("short", "x25519"):
        with pytest.raises(InvalidToken):
            await checking.verify_connect_token(token(KEYS["EdDSA"], "EdDSA", kid))


async def test_strange_endpoints_do_not_push_out_good_ones(endpoint, clock, clients):
    client = clients(max_endpoints=5)
    endpoint.keys = [published(KEYS["ES256"], "k1")]

    async def answer(request):
        return web.json_response({"keys": endpoint.keys if request.path == "/good" else []})

    endpoint.answer = answer
    checking = verifier(
        endpoint,
        clock,
        client,
        jwks_public_endpoint=endpoint.url.replace("keys", "{{tenant}}"),
        issuer_regex="(?P<tenant>.+)",
        insecure_skip_jwks_endpoint_safety_check=True,
    )
    good = token(KEYS["ES256"], "ES256", "k1", iss="good")
    await checking.verify_connect_token(good)
    for i in range(20):
        with pytest.raises(InvalidToken):
            await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1", iss=f"x{i}"))
    asked = endpoint.requests
    assert (await checking.verify_connect_token(good)).user == "42"
    assert endpoint.requests == asked


async def test_strangers_make_us_fetch_nothing(endpoint, clock, client):
    checking = verifier(endpoint, clock, client, audience="us")
    with pytest.raises(InvalidToken, match="aud"):
        await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1", aud="them"))
    assert endpoint.requests == 0


async def test_claims_of_strangers_are_not_read(endpoint, clock, client):
    endpoint.keys = [published(KEYS["ES256"], "k1")]
    checking = verifier(endpoint, clock, client)
    wrong = token(KEYS["ES256"], "ES256", "k1", sub=1)
    with pytest.raises(InvalidToken, match="malformed"):
        await checking.verify_connect_token(wrong)
    with pytest.raises(InvalidToken, match="signature"):
        await checking.verify_connect_token(wrong[:-8] + "AAAAAAAA")


async def test_logs_hide_credentials(endpoint, clock, client):
    endpoint.answer = _status
    url = endpoint.url.replace("http://", "http://name:password@") + "?key=private"
    checking = verifier(endpoint, clock, client, jwks_public_endpoint=url)
    with structlog.testing.capture_logs() as logs, pytest.raises(Error) as caught:
        await checking.verify_connect_token(token(KEYS["ES256"], "ES256", "k1"))
    assert len(logs) == jwks_module.TRIES
    for shown in (*map(str, logs), str(caught.value)):
        assert "127.0.0.1" in shown
        assert "password" not in shown
        assert "private" not in shown
