"""A ``flyball`` process on a port that is free, and tokens for it."""

import os
import signal
import ssl
from pathlib import Path
from urllib.request import urlopen

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from processes import FLYBALL, Program
from waiting import PATIENCE

JS = Path(__file__).parent / "js"
"""Where the programs with the JavaScript SDKs are."""
SECRET = "a secret of thirty-two characters"
API_KEY = "the api key"


def token(user, **claims):
    """A connection (or, with ``channel``, subscription) token."""
    return jwt.encode({"alg": "HS256"}, {"sub": user, **claims}, OctKey.import_key(SECRET))


def unverified(scheme):
    """TLS that takes any certificate: servers of tests sign their own."""
    if scheme != "https":
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class ServerProcess:
    """One run of the server; ``with`` starts and stops it."""

    def __init__(self, config_file, *, tls=False, **environ):
        self.config_file = config_file
        self.scheme = "https" if tls else "http"
        self.environ = environ
        self.port = 0

    def __enter__(self):
        self.program = Program(
            FLYBALL,
            *("-c", self.config_file),
            *("--http_server.address", "127.0.0.1", "--http_server.port", "0"),
            cwd=self.config_file.parent,
            env={**os.environ, **self.environ},
        )
        try:
            self.port = self.program.record("serving")["port"]
            url = f"{self.scheme}://127.0.0.1:{self.port}/health"
            with urlopen(url, timeout=PATIENCE, context=unverified(self.scheme)) as answer:
                assert answer.status == 200
        except BaseException:
            self.program.kill()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self, number=signal.SIGTERM):
        """Stops the server and returns its exit code."""
        return self.program.stop(number)

    @property
    def websocket(self):
        """Address for SDKs."""
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    @property
    def api(self):
        """Address of the server API."""
        return f"{self.scheme}://127.0.0.1:{self.port}/api"

    @property
    def environ_of_scripts(self):
        """What the programs in JavaScript learn of it."""
        return {
            **os.environ,
            "URL_WS": self.websocket,
            "URL_HTTP2": f"https://127.0.0.1:{self.port}",
            "URL_SOCKJS": f"http://127.0.0.1:{self.port}/connection/sockjs",
            "URL_API": self.api,
            "API_KEY": API_KEY,
            "SECRET": SECRET,
            "PATIENCE": str(PATIENCE),
            "PROTOCOL": "json",
        }


def node(server, *arguments, **environ):
    """A program under Node.js that talks to the server."""
    return Program("node", *arguments, cwd=JS, env={**server.environ_of_scripts, **environ})


def run_scenario(server, *arguments, **environ):
    """Runs a scenario in JavaScript, which must succeed."""
    with node(server, *arguments, **environ) as program:
        assert program.end() == 0, program.output


def require(module):
    """An SDK must be there: a missing one is a failure, not a reason to skip."""
    if not (JS / "node_modules" / module).is_dir():
        pytest.fail("tests/sdk/js/node_modules is missing; run the tests with `make test`")
