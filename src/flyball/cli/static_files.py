"""A static file server for development, on the standard library's."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import typer


def serve_directory(address: str, directory: str, port: int) -> int:
    """Serves ``directory`` until interrupted; returns the exit code."""
    if not Path(directory).is_dir():
        typer.echo(f"error: no such directory: {directory}")
        return 1
    handler = partial(SimpleHTTPRequestHandler, directory=directory)
    try:
        server = ThreadingHTTPServer((address, port), handler)
    except OSError as error:
        typer.echo(f"error: cannot listen on {address or '*'}:{port}: {error.strerror}")
        return 1
    typer.echo(f"serving {directory} on http://{address or 'localhost'}:{server.server_port}")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
