"""Tarantool servers that tests start: on loopback, in a folder of their own."""

import os
import resource
import shutil
import socket

import pytest
from ports import free_port
from processes import Program
from servers import OwnServer


def binary():
    """The server's program; a test that needs a missing one is skipped, or fails in CI."""
    found = shutil.which("tarantool")
    if found is None:
        hint = "there is no tarantool (Debian: apt install tarantool)"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)
    return found


class TarantoolServer(OwnServer):
    """One server, until :meth:`stop`.

    Args:
        cfg: more options of ``box.cfg``, as Lua: ``{"read_only": "true"}``.
        setup: Lua that runs at each start, where it may write, before it takes connections.
        port: to listen on; a free one if none is given.
        guest: whether guests may do anything.
    """

    READY = "flyball tests: ready"

    def __init__(self, cfg=None, *, setup="", port=None, guest=True):
        self.program_path = binary()
        super().__init__("tarantool")
        self.port = free_port() if port is None else port
        self.socket = self.folder / "console.sock"
        self.cfg = dict(cfg or {})
        self.setup = setup
        self.guest = guest
        self.start()

    def write(self):
        """Writes its script; it takes effect at the next start."""
        options = {
            "work_dir": f"'{self.folder}'",
            "memtx_memory": str(48 << 20),
            "wal_max_size": str(64 << 20),
            "slab_alloc_factor": "1.1",
            "log_level": "4",
            "force_recovery": "true",
            **self.cfg,
        }
        lines = [f"box.cfg{{{', '.join(f'{k} = {v}' for k, v in options.items())}}}"]
        rights = "box.schema.user.grant('guest', 'super', nil, nil, {if_not_exists = true})"
        lines += [
            f"if not box.info.ro then {rights if self.guest else ''} {self.setup} end",
            f"require('console').listen('unix/:{self.socket}')",
            f"box.cfg{{listen = '127.0.0.1:{self.port}'}}",
            f"require('log').error('{self.READY}')",
        ]
        self.script = self.folder / "server.lua"
        self.script.write_text("\n".join(lines) + "\n")

    def begin(self):
        """Starts it, and waits for nothing."""
        self.write()
        self.socket.unlink(missing_ok=True)
        self.program = Program(self.program_path, str(self.script))

    @property
    def url(self):
        """Its address."""
        return f"tcp://127.0.0.1:{self.port}"

    def fill_disk(self):
        """From now on nothing can be written to its log, until :meth:`free_disk`."""
        size = max(path.stat().st_size for path in self.folder.glob("*.xlog"))
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def free_disk(self):
        """There is room again."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

    def forget(self):
        """Removes all that it keeps; it must not run."""
        for path in (*self.folder.glob("*.snap"), *self.folder.glob("*.xlog")):
            path.unlink()

    def run(self, lua):
        """Runs Lua in its console; returns what it says, as YAML."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(self.socket))
            stream = sock.makefile("rwb")
            for _ in range(2):
                stream.readline()  # the greeting
            stream.write(" ".join(lua.split("\n")).encode() + b"\n")
            stream.flush()
            lines = []
            while (line := stream.readline()) and line != b"...\n":
                lines.append(line)
        text = b"".join(lines).decode(errors="replace")
        assert "error:" not in text, text
        return text


AGE = """
local prefix, seconds = ...
for _, space in ipairs({'streams', 'results', 'presence'}) do
    space = box.space['flyball_' .. space]
    for _, row in space:pairs({prefix}, {iterator = 'GE'}) do
        if row[1]:sub(1, #prefix) == prefix then
            local key = {row[1], space.name ~= 'flyball_streams' and row[2] or nil}
            local changes = {}
            for _, field in ipairs({'ends', 'meta_ends'}) do
                if row[field] ~= nil then
                    changes[#changes + 1] = {'-', field, seconds}
                end
            end
            space:update(key, changes)
        end
    end
end
"""


def pass_time(servers, prefix, seconds):
    """Makes everything below ``prefix`` that many seconds older."""
    for server in servers:
        if "not" in server.run("return box.space.flyball_streams ~= nil and 'yes' or 'not'"):
            continue
        server.run(f"loadstring([==[{AGE}]==])('{prefix}:', {seconds})")
