"""The ``flyball`` command. Without a subcommand it runs the server."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``flyball`` command."""
    from flyball.cli.app import command

    sys.exit(command().main(standalone_mode=True))
