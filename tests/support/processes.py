"""Programs that tests start: their output, read line by line, and their end."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

from waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
FLYBALL = BIN / "flyball"


class Program:
    """A program whose output (both streams, unless ``stderr`` is given) is read as it comes."""

    def __init__(self, *command, **options):
        options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, **options}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
        self.lines = []
        """What it said so far; an empty line is the end."""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._add(line)
        self._add("")

    def _add(self, line):
        with self._changed:
            self.lines.append(line)
            self._changed.notify_all()

    @property
    def output(self):
        """All that it said so far."""
        return "".join(self.lines)

    def wait_for(self, condition):
        """Waits until ``condition()``, of the lines, gives something, and returns that."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or "" in self.lines, PATIENCE)
            found = condition()
        assert found, f"{self.process.args} did not say it: {self.output}"
        return found

    def records(self, message, **fields):
        """The log records so far with that message and these fields."""
        wanted = {"message": message, **fields}
        records = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [record for record in records if wanted.items() <= record.items()]

    def record(self, message, *, after=0, **fields):
        """Waits for a log record, the one after ``after`` others of its kind."""
        return self.wait_for(lambda: self.records(message, **fields)[after:])[0]

    def stop(self, number=signal.SIGTERM):
        """Ends it and returns its exit code; one that does not end fails the test."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.end()

    def end(self):
        """Waits for its end and returns its exit code."""
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.kill()

    def pause(self):
        """Stops it where it stands; returns when all its threads do."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        wait_for(lambda: all(map(stands, tasks.iterdir())), "standstill")

    def resume(self):
        """Lets it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """Ends it at once, if it runs."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def stands(place):
    """Whether a process or thread was stopped; ``place`` is its folder in ``/proc``."""
    return (place / "stat").read_text().rpartition(")")[2].split()[0] == "T"
