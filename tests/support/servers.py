"""What servers that tests start have in common: a program, and a folder of its own."""

import shutil
import tempfile
from pathlib import Path


class OwnServer:
    """A server on loopback, until :meth:`stop`.

    Args:
        name: of its kind, for its folder.
        folder: where it keeps what it has, and which outlives it; one of its own if none is given.
    """

    READY = ""
    """What it says when it takes connections."""

    def __init__(self, name, folder=None):
        self.own_folder = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix=f"flyball-{name}-"))
        self.program = None

    def start(self):
        """Starts it (again) with what it keeps; returns when it takes connections."""
        self.begin()
        self.ready()

    def begin(self):
        """Starts it, and waits for nothing."""
        raise NotImplementedError

    def ready(self):
        """Waits until it takes connections."""
        self.program.wait_for(lambda: self.READY in self.program.output)

    @property
    def pid(self):
        return self.program.process.pid

    def kill(self):
        """Ends it without warning; what it wrote stays."""
        self.program.kill()

    def pause(self):
        """Stops it where it stands; returns when all its threads do."""
        self.program.pause()

    def resume(self):
        """Lets it go on."""
        self.program.resume()

    def stop(self):
        """Ends it and removes its folder, if it is its own."""
        self.program.kill()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
