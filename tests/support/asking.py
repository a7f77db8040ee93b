"""Rows of a route table asked without a server."""

from flyball.http.messages import NOT_FOUND, HttpLimits, RequestHead
from flyball.http.routes import Routes


class Peer:
    """Stands for a connection from ``host``."""

    def __init__(self, host):
        self._name = (host, 5000)

    def get_extra_info(self, name, default=None):
        return self._name if name == "peername" else default


def ask(rows, method, path, query="", headers=None, body=b"", host="127.0.0.1"):
    """The answer of the table to one request, or what will be it."""
    head = RequestHead(method, path, query, headers or {}, content_length=len(body))
    endpoint = Routes(rows).find(path)
    if endpoint is None:
        return NOT_FOUND
    return endpoint.refuse(head, HttpLimits()) or endpoint.answer(head, body, Peer(host))
