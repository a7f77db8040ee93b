"""Publications as engines store them: the short way of reading them agrees with the codec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.core.types import Publication, PublishOptions, payload
from flyball.engines.common.publications import (
    MalformedError,
    read_publication,
    varint,
    write_publication,
)
from flyball.protocol.client import CLIENT


def shown(publication):
    return bytes(publication.data), publication.time, publication.tags, publication.version


@given(st.binary(max_size=300), st.floats(0, 1e10), st.sampled_from([None, {"a": "b"}]))
def test_round_trip(data, now, tags):
    stored = write_publication(payload(data), PublishOptions(tags=tags), now)
    read = read_publication(stored)
    assert shown(read) == (data, int(now * 1000), tags, 0)
    assert shown(read) == shown(CLIENT.protobuf.read(Publication, stored))
    assert shown(read_publication(stored, timed=False)) == (data, 0, tags, 0)


@given(st.binary(max_size=20), st.integers(0, 130))
def test_whatever_is_stored_is_read_as_the_codec_does(tail, length):
    stored = b"\x22" + varint(length) + tail
    try:
        wanted = shown(CLIENT.protobuf.read(Publication, stored))
    except ValueError:
        with pytest.raises(MalformedError):
            read_publication(stored)
    else:
        assert shown(read_publication(stored)) == wanted


def test_a_time_that_ends_early():
    """Six bytes that are a shorter number and another field."""
    stored = b"\x22\x011" + b"\x48\x81\x01" + b"\x80\x01\x87\x01"
    read = read_publication(stored)
    assert (read.time, read.version) == (129, 135)
