"""Backends behind TLS: whom the server trusts, and who it says it is."""

import json
import ssl

import pytest
from aiohttp import web
from certificates import self_signed
from proxy_world import GrpcBackend, HttpBackend, world
from structlog.testing import capture_logs

CLIENT = self_signed()
SERVER = self_signed()


class TlsHttpBackend(HttpBackend):
    """Asks for the certificate of the test's client."""

    async def start(self, port=0):
        app = web.Application()
        app.router.add_post("/{kind}", self._post)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files)
        context.load_verify_locations(cadata=CLIENT[0].decode())
        context.verify_mode = ssl.CERT_REQUIRED
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]

    def endpoint(self, kind):
        return f"https://127.0.0.1:{self.port}/{kind}"


class TlsGrpcBackend(GrpcBackend):
    """Asks for the certificate of the test's client."""

    def listen(self, server, port):
        import grpc

        certificate, key = SERVER
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=CLIENT[0], require_client_auth=True
        )
        return server.add_secure_port(f"127.0.0.1:{port}", credentials)


@pytest.fixture(params=[TlsHttpBackend, TlsGrpcBackend])
def backend(request, tmp_path):
    made = request.param()
    made.files = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    for path, text in zip(made.files, SERVER, strict=True):
        path.write_bytes(text)
    made.answers["rpc"] = {"result": {"data": 1}}
    return made


def tls(**changed):
    options = {
        "enabled": True,
        "server_ca_pem": SERVER[0].decode(),
        "cert_pem": CLIENT[0].decode(),
        "key_pem": CLIENT[1].decode(),
    }
    return {"tls": options | changed}


async def ask(folder, backend, **changed):
    """What a client hears, and why the log says that there was no answer."""
    section = tls(**changed)
    with capture_logs() as lines:
        async with world(folder, backend, "rpc", http=section, grpc=section) as w:
            client = await w.client()
            await client.connect()
            heard = await client.call("rpc", method="m")
    return heard, [line["reason"] for line in lines if line["event"] == "backend gives no answer"]


async def test_both_know_each_other(tmp_path, backend):
    assert await ask(tmp_path, backend) == ({"data": 1}, [])
    assert len(backend.asked) == 1


async def test_a_name_of_its_own(tmp_path, backend):
    assert await ask(tmp_path, backend, server_name="localhost") == ({"data": 1}, [])
    heard, (reason,) = await ask(tmp_path, backend, server_name="elsewhere.example")
    assert heard["code"] == 100
    assert "hostname" in reason.lower() or "elsewhere.example" in reason or "UNAVAILABLE" in reason


async def test_a_backend_that_nobody_vouches_for(tmp_path, backend):
    heard, (reason,) = await ask(tmp_path, backend, server_ca_pem=CLIENT[0].decode())
    assert (heard["code"], heard["temporary"]) == (100, True)
    assert "certificate" in reason.lower() or "UNAVAILABLE" in reason
    assert not backend.asked


async def test_a_backend_that_does_not_trust_us(tmp_path, backend):
    heard, reasons = await ask(tmp_path, backend, cert_pem="", key_pem="")
    assert heard["code"] == 100
    assert len(reasons) == 1
    assert not backend.asked


async def test_certificates_that_are_not_checked(tmp_path):
    backend = TlsHttpBackend()
    backend.files = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    for path, text in zip(backend.files, SERVER, strict=True):
        path.write_bytes(text)
    backend.answers["rpc"] = json.dumps({"result": {"data": 1}})
    unchecked = {"server_ca_pem": "", "insecure_skip_verify": True}
    assert await ask(tmp_path, backend, **unchecked) == ({"data": 1}, [])
