"""Pebble, the ACME test server, with a name server that sends every name to this machine."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from acme_certs import DAY, certificate_pem, key_pem, make_key
from ports import free_ports
from waiting import wait_for

BLOCKED = "blocked.test"


def folder():
    """Where ``make test`` builds it; to be missing is a failure, not a reason to skip."""
    built = sorted(Path(sys.prefix, "pebble").glob("*/pebble"))
    if not built:
        pytest.fail("pebble is missing; run the tests with `make test`, which builds it")
    return built[-1].parent


class Pebble:
    """One authority; ``with`` starts and stops it."""

    def __init__(self, place):
        self.place = place
        ports = free_ports(6)
        self.http_port, self.tls_port = ports[:2]
        """Where it checks http-01 and tls-alpn-01."""
        self.ca_file = place / "pebble.pem"
        """What its own certificate is checked with."""
        self.root_file = place / "root.pem"
        """What the certificates it issues are checked with."""
        self._port, self._management, self._dns, self._names = ports[2:]
        self._processes = []

    @property
    def directory(self):
        return f"https://127.0.0.1:{self._port}/dir"

    def __enter__(self):
        key, now = make_key(), time.time()
        pem = certificate_pem(key, "127.0.0.1", start=now - DAY, end=now + DAY)
        self.ca_file.write_bytes(pem)
        key_file = self.place / "pebble-key.pem"
        key_file.write_bytes(key_pem(key))
        settings = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self.ca_file),
            "privateKey": str(key_file),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "domainBlocklist": [BLOCKED],
        }
        config = self.place / "pebble.json"
        config.write_text(json.dumps({"pebble": settings}))
        dns = f"127.0.0.1:{self._dns}"
        off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]
        names = ["-dnsserver", dns, "-management", f"127.0.0.1:{self._names}"]
        try:
            self._start("pebble-challtestsrv", *names, *off)
            self._start("pebble", "-config", config, "-dnsserver", dns, "-strict")
            self._await_names()
            self.root_file.write_bytes(self._root())
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, program, *arguments):
        with (self.place / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [folder() / program, *arguments],
                stdout=log,
                stderr=log,
                # Nonces are refused now and then by default, for clients to learn.
                env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            )
        self._processes.append(process)

    def _await_names(self):
        """Waits for the name server to take connections: the authority does not retry."""

        def connect():
            socket.create_connection(("127.0.0.1", self._dns), timeout=5).close()

        self._until_it_works(connect)

    def _root(self):
        context = ssl.create_default_context(cafile=self.ca_file)

        def ask():
            url = f"https://127.0.0.1:{self._management}/roots/0"
            with urlopen(url, timeout=5, context=context) as answer:
                return answer.read()

        return self._until_it_works(ask)

    def _until_it_works(self, action):
        results = []

        def logs():
            texts = [file.read_text() for file in self.place.glob("pebble*.log")]
            return "start of pebble:\n" + "\n".join(texts)

        def works():
            try:
                results.append(action())
            except OSError:
                assert all(p.poll() is None for p in self._processes), f"no {logs()}"
            return results

        wait_for(works, logs)
        return results[0]

    def __exit__(self, *_):
        for process in self._processes:
            process.kill()
            process.wait()

    def pause(self):
        """Lets it hang until :meth:`go_on`."""
        self._processes[-1].send_signal(signal.SIGSTOP)

    def go_on(self):
        self._processes[-1].send_signal(signal.SIGCONT)
