"""Rows of a route table asked without a server."""

from flyball.http.messages import NOT_FOUND, HttpLimits, RequestHead
from flyball.http.routes import Routes


def ask(rows, method, path, query="", headers=None, body=b""):
    """The answer of the table to one request, or what will be it."""
    head = RequestHead(method, path, query, headers or {}, content_length=len(body))
    endpoint = Routes(rows).find(path)
    if endpoint is None:
        return NOT_FOUND
    return endpoint.refuse(head, HttpLimits()) or endpoint.answer(head, body)
