"""Automatic certificates by ACME (RFC 8555): ``http_server.tls_autocert``.

    autocert      decides when; loads, renews, logs
    issuer        one certificate from the authority, with certbot's ``acme`` library, on a thread
    challenges    answers to tls-alpn-01 (RFC 8737) and http-01, while they are pending
    tls, hello    finds the certificate for a handshake
    cache         files, in the format of Go's autocert

Only ``issuer`` imports that library: it is an extra, and takes a while to load.
"""

from flyball.server.acme.autocert import Autocert, Issuer
from flyball.server.acme.names import normal_host, split_address
from flyball.server.acme.options import LETS_ENCRYPT, AutocertOptions
from flyball.server.acme.problem import IssueError

__all__ = [
    "LETS_ENCRYPT",
    "Autocert",
    "AutocertOptions",
    "IssueError",
    "Issuer",
    "normal_host",
    "split_address",
]
