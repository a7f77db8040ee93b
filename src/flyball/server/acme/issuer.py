"""Getting one certificate from an ACME authority (RFC 8555), on a worker thread.

certbot's library ``acme`` signs and sends; here is what it is asked to do. Its tls-alpn-01 is
gone since version 5, so the answer to that challenge is ours.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import requests
from acme import challenges, client, errors, messages
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy import jwa
from josepy.b64 import b64encode
from josepy.errors import Error as JoseError
from josepy.jwk import JWK, JWKEC, JWKRSA

from flyball._version import __version__
from flyball.server.acme.cache import ACCOUNT_KEY
from flyball.server.acme.certificate import new_key, read_key, signing_request
from flyball.server.acme.problem import IssueError

if TYPE_CHECKING:
    import threading

    from flyball.server.acme.cache import Cache
    from flyball.server.acme.challenges import Challenges
    from flyball.server.acme.options import AutocertOptions

_TLS_ALPN_01: Final = "tls-alpn-01"
_HTTP_01: Final = "http-01"
_FIRST_POLL: Final = 0.5
_LONGEST_POLL: Final = 10.0
_TRUSTING: Final = (AttributeError, LookupError, TypeError, ValueError)
"""What the library raises where an answer has not the shape that it takes for granted."""
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


class AcmeIssuer:
    """Asks one authority for certificates; see :class:`flyball.server.acme.autocert.Issuer`.

    Args:
        options: the authority and the account.
        cache: keeps the account's key.
        challenges: where answers to challenges are put.
    """

    def __init__(self, options: AutocertOptions, cache: Cache, challenges: Challenges) -> None:
        self._options = options
        self._cache = cache
        self._challenges = challenges

    def issue(self, host: str, stop: threading.Event) -> bytes:
        """Returns a new key and the chain for ``host``, as PEM.

        Blocks for seconds or, when the authority does, up to ``issue_timeout``; gives up soon
        after ``stop`` is set.

        Raises:
            IssueError: it could not be got; says why in the authority's words.
        """
        order = _Order(self._options, self._challenges, stop)
        try:
            return order.run(host, self._account_key())
        except IssueError:
            raise
        except messages.Error as error:
            raise IssueError(_problem_text(error), order.retry_after) from None
        except errors.ValidationError as error:
            raise IssueError(_validation_text(error)) from None
        except errors.IssuanceError as error:
            raise IssueError(_problem_text(error.error)) from None
        except errors.TimeoutError:
            raise IssueError("the authority did not finish in time") from None
        except requests.exceptions.RequestException as error:
            raise IssueError(f"the authority cannot be reached: {_plain(error)}") from None
        except (errors.Error, JoseError, *_TRUSTING) as error:
            raise IssueError(f"the authority's answer is of no use: {_plain(error)}") from None
        except OSError as error:
            raise IssueError(f"a file cannot be read or written: {error}") from None

    def _account_key(self) -> JWK:
        pem = self._cache.get(ACCOUNT_KEY)
        if pem is None:
            pem = new_key()
            self._cache.put(ACCOUNT_KEY, pem)
        try:
            key = read_key(pem)
        except ValueError as error:
            raise IssueError(f"{ACCOUNT_KEY} in the cache: {error}; remove it") from None
        match key:
            case ec.EllipticCurvePrivateKey():
                return JWKEC(key=key)
            case rsa.RSAPrivateKey():
                return JWKRSA(key=key)
            case _:
                raise IssueError(f"{ACCOUNT_KEY} in the cache: neither an EC nor an RSA key")


class _Order:
    """One attempt."""

    def __init__(
        self, options: AutocertOptions, pending: Challenges, stop: threading.Event
    ) -> None:
        self._options = options
        self._pending = pending
        self._stop = stop
        self._end = time.monotonic() + options.issue_timeout
        self.retry_after = 0.0
        """Seconds that the last refusal asked to wait."""

    def run(self, host: str, account_key: JWK) -> bytes:
        """The steps of RFC 8555, 7."""
        network = self._network(account_key)
        with network.session:
            return self._run(host, account_key, network)

    def _run(self, host: str, account_key: JWK, network: client.ClientNetwork) -> bytes:
        directory = client.ClientV2.get_directory(self._options.directory, network)
        acme = client.ClientV2(directory, network)
        self._register(acme)
        key = new_key()
        order = acme.new_order(signing_request(key, host))
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_PENDING:
                self._authorize(acme, host, authorization, account_key)
        # The library wants local time without a zone.
        end = dt.datetime.now() + dt.timedelta(seconds=self._left())  # noqa: DTZ005
        order = acme.finalize_order(order, end)
        return key + order.fullchain_pem.encode()

    def _network(self, account_key: JWK) -> client.ClientNetwork:
        options = self._options
        network = client.ClientNetwork(
            account_key,
            alg=_algorithm(account_key),
            verify_ssl=options.ca_file or True,  # type: ignore[arg-type]  # goes to requests
            user_agent=f"flyball/{__version__}",
            timeout=int(options.request_timeout),
        )
        network.session.hooks["response"].append(self._remember_wait)
        return network

    def _register(self, acme: client.ClientV2) -> None:
        email = self._options.email or None
        wanted = messages.NewRegistration.from_data(email=email, terms_of_service_agreed=True)
        try:
            acme.new_account(wanted)
        except errors.ConflictError as error:  # it is there already
            acme.net.account = messages.RegistrationResource(
                body=messages.Registration(), uri=error.location
            )

    def _authorize(
        self,
        acme: client.ClientV2,
        host: str,
        authorization: messages.AuthorizationResource,
        account_key: JWK,
    ) -> None:
        kind = _HTTP_01 if self._options.http else _TLS_ALPN_01
        challenge, token = _find(authorization, kind)
        proof = f"{token}.{b64encode(account_key.thumbprint()).decode()}"
        with self._answering(kind, host, token, proof):
            acme.answer_challenge(challenge, challenges.HTTP01Response(key_authorization=proof))
            self._await_check(acme, authorization)

    def _answering(
        self, kind: str, host: str, token: str, proof: str
    ) -> AbstractContextManager[None]:
        if kind == _HTTP_01:
            return self._pending.http(token, proof)
        return self._pending.tls(host, proof)

    def _await_check(
        self, acme: client.ClientV2, authorization: messages.AuthorizationResource
    ) -> None:
        wait = _FIRST_POLL
        while True:
            if self._stop.wait(min(wait, self._left())):
                raise IssueError("the server stops")
            authorization, answer = acme.poll(authorization)
            status = authorization.body.status
            if status == messages.STATUS_VALID:
                return
            if status != messages.STATUS_PENDING:
                raise errors.ValidationError([authorization])
            wait = min(max(_seconds(answer), wait), _LONGEST_POLL)

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise errors.TimeoutError
        return left

    def _remember_wait(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        if not answer.ok:
            self.retry_after = _seconds(answer)


def _algorithm(key: JWK) -> jwa.JWASignature:
    if not isinstance(key, JWKEC):
        return jwa.RS256
    match key.key.curve:
        case ec.SECP384R1():
            return jwa.ES384
        case ec.SECP521R1():
            return jwa.ES512
        case _:
            return jwa.ES256


def _find(
    authorization: messages.AuthorizationResource, kind: str
) -> tuple[messages.ChallengeBody, str]:
    offered = []
    for challenge in authorization.body.challenges:
        found = challenge.chall.to_partial_json()
        if found.get("type") == kind:
            return challenge, str(found.get("token", ""))
        offered.append(str(found.get("type")))
    hint = "; http_server.tls_autocert.http switches to http-01" if _HTTP_01 in offered else ""
    raise IssueError(f"the authority offers no {kind} challenge, only {', '.join(offered)}{hint}")


def _seconds(answer: requests.Response) -> float:
    """What a ``Retry-After`` header says, 0 without one."""
    text = answer.headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if then.tzinfo is None:
        then = then.replace(tzinfo=dt.UTC)
    return max((then - dt.datetime.now(dt.UTC)).total_seconds(), 0.0)


def _problem_text(problem: messages.Error) -> str:
    """The detail of a problem document (RFC 8555, 6.7) and of those inside it."""
    kind = str(problem.typ).removeprefix(messages.ERROR_PREFIX)
    text = f"{problem.detail or problem.description or problem.title or 'no reason'} ({kind})"
    parts = [_problem_text(part) for part in problem.subproblems or ()]
    return "; ".join([text, *parts])


def _validation_text(error: errors.ValidationError) -> str:
    problems = [
        _problem_text(challenge.error)
        for authorization in error.failed_authzrs
        for challenge in authorization.body.challenges
        if challenge.error is not None
    ]
    return "; ".join(problems) or "the authority could not check the name, and does not say why"


def _plain(error: Exception) -> str:
    """One line about an error, without the addresses of objects in memory."""
    text = " ".join(str(error).split()) or type(error).__name__
    return _ADDRESS.sub("", text)[:300]
