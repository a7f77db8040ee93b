"""TLS contexts that find the certificate for the name a client asks for.

    connection → HelloReader   keeps the ClientHello while the handshake has not got past it
               → NamesContext  its name callback: challenge, certificate, or refusal

The listener knows nothing of this: it takes the context as it would any other.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from flyball.server.acme.certificate import load_pair
from flyball.server.acme.challenges import ACME_PROTOCOL
from flyball.server.acme.hello import ClientHello, parse_hello

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flyball.server.acme.certificate import Certificate
    from flyball.server.acme.challenges import Challenges

_ACME: Final = ACME_PROTOCOL.encode()
_MAX_HELLO: Final = 64 * 1024


class HelloReader(ssl.SSLObject):
    """One TLS connection on memory buffers, as event loops use it."""

    # Set here because SSLObject has no constructor to override.
    incoming: ssl.MemoryBIO | None = None
    """What came from the client; None once the hello was read."""
    hello = ClientHello()
    """Complete when the name callback runs."""
    _bytes = b""
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Goes on with the handshake; to be called again when more bytes came."""
        if self._failure is not None:
            raise self._failure
        self._read_hello()
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            # Loops drop the connection without sending the alert that tells the client why.
            # "Wants to read" makes them send it; the client's close then ends the connection,
            # or the time limit for handshakes does.
            self._failure = error.with_traceback(None)
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "alert to be sent") from None

    def _read_hello(self) -> None:
        incoming = self.incoming
        if incoming is None:
            return
        # OpenSSL has taken all that came before: it asked for more.
        fresh = incoming.read()
        if fresh:
            incoming.write(fresh)
        self._bytes += fresh
        hello = parse_hello(self._bytes)
        if hello is None and len(self._bytes) < _MAX_HELLO:
            return
        self.incoming, self._bytes = None, b""
        if hello is not None:
            self.hello = hello
            if not hello.server_name.isascii():
                # The ssl module would print a traceback from its callback.
                raise ssl.SSLError("server name with bytes that no name has")


class Names:
    """The certificates of all names, for any number of listeners.

    Args:
        hosts: names that may be served.
        default: one of them, for clients that send none; empty: they are refused.
        challenges: pending ones.
        on_missing: told when a client asks for one of ``hosts`` that has no certificate.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        default: str,
        challenges: Challenges,
        on_missing: Callable[[str], None],
    ) -> None:
        self.hosts = frozenset(hosts)
        self.default = default
        self.challenges = challenges
        self.on_missing = on_missing
        self.certificates: dict[str, Certificate] = {}
        self._contexts: list[NamesContext] = []

    def context(self, alpn: Iterable[str] = ()) -> NamesContext:
        """A context for a listener: TLS 1.2 or newer, with these protocols (ALPN)."""
        context = NamesContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.names = self
        context.by_host = {}
        context.alpn = ()
        context.sni_callback = context.choose
        context.set_alpn_protocols(alpn)
        self._contexts.append(context)
        return context

    def put(self, host: str, certificate: Certificate) -> None:
        """Serves ``certificate`` for ``host`` from the next handshake on.

        Open connections keep the one they began with. Writes a file for a moment: not for the
        event loop's thread.

        Raises:
            ssl.SSLError: OpenSSL cannot use it; what was served before stays.
        """
        made = [context.make(certificate) for context in self._contexts]
        for context, new in zip(self._contexts, made, strict=True):
            context.by_host[host] = new
        self.certificates[host] = certificate


class NamesContext(ssl.SSLContext):
    """A listener's context; made by :meth:`Names.context`."""

    sslobject_class = HelloReader
    names: Names
    """Knows the certificates."""
    by_host: dict[str, ssl.SSLContext]
    """The contexts of the certificates that were asked for, by name."""
    alpn: tuple[str, ...]
    """Protocols that are offered, the most wanted first."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """See :meth:`ssl.SSLContext.wrap_bio`."""
        wrapped = super().wrap_bio(incoming, *args, **kwargs)
        assert isinstance(wrapped, HelloReader)
        wrapped.incoming = incoming
        return wrapped

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """See :meth:`ssl.SSLContext.set_alpn_protocols`."""
        self.alpn = tuple(alpn_protocols)
        # The handshake goes on in the context of the name.
        for context in list(self.by_host.values()):
            context.set_alpn_protocols(self.alpn)

    def make(self, certificate: Certificate) -> ssl.SSLContext:
        """A context for one name."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        load_pair(context, certificate.pem)
        context.set_alpn_protocols(self.alpn)
        return context

    def choose(self, tls: Any, server_name: str | None, _: ssl.SSLContext) -> int | None:
        """OpenSSL's question for the certificate; returns an alert to refuse with, or None."""
        names = self.names
        host = (server_name or names.default).lower().rstrip(".")
        if host not in names.hosts:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        context: ssl.SSLContext | None
        if isinstance(tls, HelloReader) and _ACME in tls.hello.protocols:
            context = names.challenges.context_for(host)
            # No ordinary client offers this, so a certificate would be of no use to it.
            return self._go_on(tls, context, ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)
        context = self.by_host.get(host)
        if context is None:
            names.on_missing(host)
        return self._go_on(tls, context, ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)

    @staticmethod
    def _go_on(tls: Any, context: ssl.SSLContext | None, alert: int) -> int | None:
        if context is None:
            return alert
        tls.context = context
        return None
