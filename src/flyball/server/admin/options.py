"""Settings of the operators' page."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AdminOptions"]


@dataclass(frozen=True, slots=True)
class AdminOptions:
    """Where the page is, and who may use it."""

    prefix: str = ""
    """Path before all of it, without a slash at its end."""
    password: str = ""
    """Without one nobody can sign in, unless ``insecure``."""
    secret: str = ""
    """Signs the sessions; likewise."""
    insecure: bool = False
    """Nobody is asked for a password."""
    external: bool = False
    """It is on the port of client connections."""
    web_path: str = ""
    """A directory with other files than those of the package."""
    web_proxy_address: str = ""
    """Who has the files, in place of the package: ``http://localhost:5173``."""
