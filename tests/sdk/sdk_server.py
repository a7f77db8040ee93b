"""A ``flyball`` process on a port that is free, and tokens for it."""

import json
import os
import select
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from joserfc import jwt
from joserfc.jwk import OctKey

FLYBALL = Path(sys.executable).parent / "flyball"
SECRET = "a secret of thirty-two characters"
API_KEY = "the api key"
START_TIMEOUT = 20.0
STOP_TIMEOUT = 15.0


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
        self.process = subprocess.Popen(
            [
                FLYBALL,
                "-c",
                self.config_file,
                "--http_server.address",
                "127.0.0.1",
                "--http_server.port",
                "0",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.config_file.parent,
            env={**os.environ, **self.environ},
        )
        try:
            self.port = self._await_port()
            url = f"{self.scheme}://127.0.0.1:{self.port}/health"
            with urlopen(url, timeout=START_TIMEOUT, context=unverified(self.scheme)) as answer:
                assert answer.status == 200
        except BaseException:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            raise
        return self

    def _await_port(self):
        output = b""
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.1)
            if ready:
                line = self.process.stdout.readline()
                output += line
                if b'"serving"' in line:
                    return json.loads(line)["port"]
            if self.process.poll() is not None:
                break
        raise AssertionError(f"the server did not start:\n{output.decode()}")

    def __exit__(self, *_):
        self.stop()

    def stop(self, number=signal.SIGTERM):
        """Stops the server and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process.stdout.close()

    @property
    def websocket(self):
        """Address for SDKs."""
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    @property
    def api(self):
        """Address of the server API."""
        return f"{self.scheme}://127.0.0.1:{self.port}/api"
