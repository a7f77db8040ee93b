"""Servers that stand in for a cloud: a program of ours on loopback, that tests end and start again."""

import shutil
import sys
import tempfile
from pathlib import Path

from ports import accepts, free_port
from processes import Program
from waiting import wait_for


class StandIn:
    """The server, until :meth:`stop`; what it keeps is in its folder.

    Args:
        script: its program, a file beside this one.
    """

    def __init__(self, script):
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix="flyball-standin-")
        self._script = Path(__file__).with_name(script)
        self.program = None
        self.start()

    def start(self):
        self.program = Program(sys.executable, str(self._script), str(self.port), self.folder)
        wait_for(lambda: accepts(self.port), "server")

    def kill(self):
        self.program.kill()

    def stop(self):
        self.program.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
