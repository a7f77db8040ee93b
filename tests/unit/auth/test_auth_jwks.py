"""Key sets from an endpoint, against a server on loopback."""

import asyncio

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from flyball.core.errors import Error
from flyball.server.auth import InvalidToken, JwksClient, TokenOptions, TokenVerifier
from flyball.server.auth import jwks as jwks_module
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
async def client(clock):
    client = JwksClient(clock)
    yield client
    await client.close()


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
    await asyncio.sleep(30)


@pytest.mark.parametrize("answer", [_status, _redirect, _garbage, _huge, _slow])
async def test_an_endpoint_that_fails_is_a_temporary_error(
    endpoint, clock, client, answer, monkeypatch
):
    monkeypatch.setattr(jwks_module, "TIMEOUT", 0.05)
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
