"""Optional packages: what is said when one is missing."""

from __future__ import annotations

from flyball.core.errors import ConfigError


def missing(key: str, extra: str, error: ImportError) -> ConfigError:
    """Says which extra ``key`` of the configuration needs."""
    return ConfigError(f'{key}: it needs an extra: pip install "flyball[{extra}]" ({error})')
