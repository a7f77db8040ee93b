"""Bodies that are no JSON in ways that a reader may forget."""

DEEP = 20_000

NO_JSON = [
    b"[",
    b'{"a":"\xff"}',
    b'{"\xff":1}',
    b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}",
]
"""Cut off; no UTF-8 in a value, in a name; nested too deep for the stack."""
