"""The ``flyball`` command. Without a subcommand it runs the server."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the ``flyball`` command."""
    from flyball.cli.app import command, spell_out

    sys.exit(command().main(spell_out(sys.argv[1:]), prog_name="flyball"))
