"""Servers that stand in for a cloud: a program of ours on loopback, that tests end and start again."""

import sys
from pathlib import Path

from ports import accepts, free_port
from processes import Program
from servers import OwnServer
from waiting import wait_for


class StandIn(OwnServer):
    """The server, until :meth:`stop`; what it keeps is in its folder.

    Args:
        script: its program, a file beside this one.
    """

    def __init__(self, script):
        super().__init__("standin")
        self.port = free_port()
        self._script = Path(__file__).with_name(script)
        self.start()

    def begin(self):
        self.program = Program(sys.executable, str(self._script), str(self.port), str(self.folder))

    def ready(self):
        wait_for(lambda: accepts(self.port), "server")
