"""Kafka brokers that tests start: on loopback, in a folder of their own.

Apache Kafka comes from Maven Central, once, into ``build/kafka``; it needs a JDK, 17 or newer.
"""

import fcntl
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from certificates import self_signed
from ports import free_ports
from processes import ROOT, Program
from servers import OwnServer

HERE = Path(__file__).parent / "kafka"
PLACE = ROOT / "build" / "kafka"
USER, PASSWORD = "flyball", "secret"
"""Whom the listeners with SASL know."""
LISTENERS = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
JAVA = (
    *(
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-Xshare:auto",
    ),
    *("-Djava.awt.headless=true", f"-Dlog4j2.configurationFile={HERE / 'log4j2.xml'}"),
)


@cache
def jars():
    """The folder of Kafka's jars; a test that cannot have them is skipped, or fails in CI."""
    try:
        return _fetched()
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stdout", None) or ""
        hint = f"there is no Kafka: apt install maven default-jdk-headless ({error}) {said}"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)


def _fetched():
    if shutil.which("java") is None:
        raise OSError("there is no java")
    PLACE.mkdir(parents=True, exist_ok=True)
    found = PLACE / "jars"
    # Test processes that start together get it once.
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = (HERE / "pom.xml").read_bytes()
        stamp = found / "pom.xml"
        if not stamp.exists() or stamp.read_bytes() != wanted:
            shutil.rmtree(found, ignore_errors=True)
            command = ["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies"]
            command.append(f"-DoutputDirectory={found}")
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
            stamp.write_bytes(wanted)
    return found


class KafkaServer(OwnServer):
    """One broker, which is its own controller, until :meth:`stop`.

    It listens with and without TLS and SASL; with TLS it wants certificates of its clients, and
    its own is for the name ``localhost`` only.

    Args:
        number: of the broker in its cluster.
        controllers: ports of the controllers of all of them, by number.
        wait: return when it takes connections.
        settings: more of its ``server.properties``.
    """

    READY = "Kafka Server started"

    def __init__(self, *, number=1, controllers=None, wait=True, **settings):
        super().__init__("kafka")
        self.jars = jars()
        self.number = number
        self.ports = dict(zip((*LISTENERS, "CONTROLLER"), free_ports(5), strict=True))
        self.controllers = controllers or {number: self.ports["CONTROLLER"]}
        self.ports["CONTROLLER"] = self.controllers[number]
        self.certificate, self.key = self_signed()
        (self.folder / "server.pem").write_bytes(self.key + self.certificate)
        (self.folder / "ca.pem").write_bytes(self.certificate)
        self.file = self.folder / "server.properties"
        self._write(settings)
        self._format()
        self.begin()
        if wait:
            self.ready()

    def _write(self, more):
        login = "org.apache.kafka.common.security"
        plain = f'{login}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        scram = f"{login}.scram.ScramLoginModule required;"
        # It takes no token that anybody gives it here: which are good AWS alone knows.
        bearer = f"{login}.oauthbearer.OAuthBearerLoginModule required;"
        settings = {
            "node.id": self.number,
            "process.roles": "broker,controller",
            "log.dirs": self.folder / "data",
            "listeners": ",".join(f"{k}://127.0.0.1:{p}" for k, p in self.ports.items()),
            "advertised.listeners": ",".join(f"{k}://127.0.0.1:{self.ports[k]}" for k in LISTENERS),
            "listener.security.protocol.map": ",".join(
                (*(f"{k}:{k}" for k in LISTENERS), "CONTROLLER:PLAINTEXT")
            ),
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(
                f"{number}@127.0.0.1:{port}" for number, port in self.controllers.items()
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.folder / "server.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.folder / "ca.pem",
            "listener.name.ssl.ssl.client.auth": "required",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": len(self.controllers),
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": len(self.controllers),
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            # A broker that was killed is let in again when its session is over.
            "broker.session.timeout.ms": 3000,
            "broker.heartbeat.interval.ms": 500,
            # Groups of tests have their members at once.
            "group.initial.rebalance.delay.ms": 0,
            **{
                f"listener.name.{kind}.{mechanism}.sasl.jaas.config": module
                for kind in ("sasl_plaintext", "sasl_ssl")
                for mechanism, module in (
                    ("plain", plain),
                    ("scram-sha-256", scram),
                    ("scram-sha-512", scram),
                    ("oauthbearer", bearer),
                )
            },
            **{name.replace("_", "."): value for name, value in more.items()},
        }
        self.file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _format(self):
        users = [
            option
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for option in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")
        ]
        command = [*self._java("kafka.tools.StorageTool"), "format", "-c", self.file]
        command += ["-t", "Zmx5YmFsbC10ZXN0cy0wMQ", *users]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def _java(self, name):
        return ["java", *JAVA, "-cp", f"{self.jars}/*", name]

    def begin(self):
        """Starts it, and waits for nothing."""
        self.program = Program(*self._java("kafka.Kafka"), str(self.file))

    def address(self, listener="PLAINTEXT"):
        """Where it listens, as ``host:port``."""
        return f"127.0.0.1:{self.ports[listener]}"


class KafkaCluster:
    """Brokers that keep each partition all of them: one may go, the others go on."""

    def __init__(self, nodes=3):
        controllers = dict(enumerate(free_ports(nodes), start=1))
        more = {"min_insync_replicas": 2, "controllers": controllers, "wait": False}
        self.nodes = [KafkaServer(number=number, **more) for number in controllers]
        for node in self.nodes:
            node.ready()

    def addresses(self):
        """Where they listen."""
        return [node.address() for node in self.nodes]

    def stop(self):
        """Ends them and removes their folders."""
        for node in self.nodes:
            node.stop()
