"""An operator, an account and a user of a NATS server that knows its users by JWT."""

import base64
import json
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

SEED, OPERATOR, ACCOUNT, USER = (n << 3 for n in (18, 14, 0, 20))
NO_LIMIT = {"subs": -1, "data": -1, "payload": -1}


def crc16(data):
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value


def base32(data):
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).decode().rstrip("=")


class NKey:
    """A key as NATS writes it."""

    def __init__(self, kind):
        self.kind = kind
        self.key = Ed25519PrivateKey.generate()

    @property
    def public(self):
        raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base32(bytes((self.kind,)) + raw)

    @property
    def seed(self):
        raw = self.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return base32(bytes((SEED | self.kind >> 5, (self.kind & 31) << 3)) + raw)

    def jwt(self, subject, kind, **nats):
        """Claims about a key, signed by this one."""
        claims = {
            "jti": subject.public,
            "iat": int(time.time()),
            "iss": self.public,
            "name": kind,
            "sub": subject.public,
            "nats": {"type": kind, "version": 2, **nats},
        }
        parts = [
            url64(json.dumps(p).encode()) for p in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)
        ]
        signed = ".".join(parts)
        return f"{signed}.{url64(self.key.sign(signed.encode()))}"


def url64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Realm:
    """What a server and a user must have: configuration, and a credentials file."""

    def __init__(self, *, jetstream=False):
        operator, account, self.user = NKey(OPERATOR), NKey(ACCOUNT), NKey(USER)
        limits = {
            **NO_LIMIT,
            "imports": -1,
            "exports": -1,
            "wildcards": True,
            "conn": -1,
            "leaf": -1,
        }
        if jetstream:
            limits |= {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        system = NKey(ACCOUNT)
        account_jwt = operator.jwt(account, "account", limits=limits)
        self.config = (
            f"operator: {operator.jwt(operator, 'operator')}\nresolver: MEMORY\n"
            f"resolver_preload {{ {account.public}: {account_jwt},"
            f" {system.public}: {operator.jwt(system, 'account', limits=NO_LIMIT)} }}\n"
            f"system_account: {system.public}"
        )
        self.jwt = account.jwt(self.user, "user", **NO_LIMIT)

    def write(self, path):
        """The credentials file of the user."""
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{self.jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.user.seed}\n------END USER NKEY SEED------\n"
        )
