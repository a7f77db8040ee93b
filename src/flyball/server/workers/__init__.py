"""Several processes as one server: a supervisor starts them on one port and keeps them running.

The supervisor serves nothing itself. Workers share all ports (``SO_REUSEPORT``) and an engine: the
configured one, or a Valkey that the supervisor starts on a private unix socket. They are spawned,
never forked. A worker whose supervisor is gone ends as well: its standard input closes.

Workers ask each other over unix sockets in a folder that is theirs alone: how they are, what they
have counted, and for SockJS sessions that another has.
"""

from flyball.server.workers.supervisor import (
    WorkersOptions,
    own_names,
    run_server,
    supervise,
)

__all__ = ["WorkersOptions", "own_names", "run_server", "supervise"]
