"""From ``http_server.tls_autocert`` to listeners."""

import json
import ssl
import sys

import pytest

from flyball.aio.clock import LoopClock
from flyball.core.errors import ConfigError
from flyball.server import build
from flyball.server.acme import LETS_ENCRYPT
from flyball.server.app import Server
from flyball.server.config import check, load_config, unbuilt_options


def config_of(tmp_path, environ=None, server=None, **autocert):
    file = tmp_path / "config.json"
    options = {"enabled": True, "host_whitelist": ["a.test"], **autocert}
    tree = {"http_server": {"tls_autocert": options, **(server or {})}}
    file.write_text(json.dumps(tree))
    return load_config(file, environ=environ or {})


def problems(tmp_path, **options):
    with pytest.raises(ConfigError) as caught:
        check(config_of(tmp_path, **options).config)
    return str(caught.value)


def test_what_is_right(tmp_path):
    config = config_of(
        tmp_path,
        host_whitelist=["A.test.", "bücher.test"],
        server_name="xn--bcher-kva.test",
        http=True,
    ).config
    check(config)
    assert unbuilt_options(config) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host_whitelist": []}, ": list the host names that certificates may be"),
        ({"host_whitelist": ["a.test", "*.a.test"]}, '"*.a.test" is not'),
        ({"host_whitelist": ["10.0.0.1"]}, "an IP address"),
        ({"server_name": "b.test"}, '"b.test" is not in host_whitelist'),
        ({"server_name": "not a name"}, "is not in host_whitelist"),
        ({"http": True, "http_addr": "80"}, '"80" is not allowed; expected host:port'),
        ({"server": {"http3": {"enabled": True}}}, "http3.enabled"),
    ],
)
def test_what_is_wrong(tmp_path, options, said):
    assert said in problems(tmp_path, **options)


def test_nothing_is_wrong_with_what_is_off(tmp_path):
    check(config_of(tmp_path, enabled=False, host_whitelist=[]).config)


def test_the_authority_is_set_by_the_environment(tmp_path):
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    environ = {
        "FLYBALL_ACME_DIRECTORY": "https://acme.test/dir",
        "FLYBALL_ACME_CA_FILE": str(ca_file),
    }
    loaded = config_of(tmp_path, environ)
    assert loaded.notices == ()
    options = build.autocert(loaded.config, LoopClock(), environ).options
    assert (options.directory, options.ca_file) == ("https://acme.test/dir", str(ca_file))
    options = build.autocert(loaded.config, LoopClock(), {}).options
    assert (options.directory, options.ca_file) == (LETS_ENCRYPT, "")
    with pytest.raises(ConfigError, match="FLYBALL_ACME_CA_FILE: there is no file /nowhere"):
        build.autocert(loaded.config, LoopClock(), {"FLYBALL_ACME_CA_FILE": "/nowhere"})


def test_a_missing_extra_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "acme", None)
    monkeypatch.delitem(sys.modules, "flyball.server.acme.issuer", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'flyball\[acme\]'"):
        build.autocert(config_of(tmp_path).config, LoopClock(), {})


def test_a_cache_directory_that_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    config = config_of(tmp_path, cache_dir=str(tmp_path / "file")).config
    with pytest.raises(ConfigError, match=r"tls_autocert\.cache_dir: .*: File exists"):
        build.autocert(config, LoopClock(), {})


@pytest.mark.parametrize(
    ("options", "tls"),
    [
        ({}, [True]),
        ({"internal_port": "9000"}, [True, True]),
        ({"internal_port": "9000", "tls_external": True}, [True, False]),
    ],
)
async def test_which_listeners_have_it(tmp_path, options, tls):
    server = Server(config_of(tmp_path, server=options).config)
    contexts = [listener.options.ssl_context for listener in server.listeners]
    assert [context is not None for context in contexts] == tls
    assert isinstance(contexts[0], ssl.SSLContext)
    assert contexts[0].alpn == ("h2", "http/1.1")


async def test_the_port_for_challenges(tmp_path):
    server = Server(config_of(tmp_path, http=True, http_addr="127.0.0.1:0").config)
    _, plain = server.listeners
    assert plain.options.ssl_context is None
    assert plain.options.host == "127.0.0.1"
