"""Why there is no certificate."""

from __future__ import annotations


class IssueError(Exception):
    """A certificate could not be got; the text is for the log.

    ``retry_after`` is the wait in seconds that the authority asks for, 0 if it does not.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
