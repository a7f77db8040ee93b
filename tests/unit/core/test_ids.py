"""Ids are random UUIDs as any reader of UUIDs takes them."""

from __future__ import annotations

from uuid import RFC_4122, UUID

from flyball.core.ids import new_id


def test_an_id_is_a_uuid_of_version_4_in_its_usual_form():
    for _ in range(200):
        text = new_id()
        value = UUID(text)
        assert (str(value), value.version, value.variant) == (text, 4, RFC_4122)


def test_ids_differ():
    assert len({new_id() for _ in range(1000)}) == 1000
