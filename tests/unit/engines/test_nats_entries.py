"""Messages of the history, and the way back through them."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flyball.engines.nats.jetstream import entries
from flyball.engines.nats.jetstream.entries import Entry, MalformedError


def chain(sizes, keep):
    """Messages with so many publications each, of a channel that keeps so many; by sequence."""
    found, last, sequence = {}, None, 0
    for step, size in enumerate(sizes):
        jumps = last.jumps_after(sequence) if last else []
        sequence += 1 + step % 3
        top = (last.top if last else 0) + size
        last = Entry(
            epoch="e", top=top, publications=[b""] * size, size=keep, number=step, jumps=jumps
        )
        found[sequence] = last
    return found


@settings(max_examples=300)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=70),
    st.integers(1, 60),
    st.integers(1, 60),
)
def test_reads_begin_before_what_is_wanted_and_not_far(sizes, keep, back):
    found = chain(sizes, keep)
    last = list(found.values())[-1]
    oldest = max(last.top - keep, 0) + 1
    wanted = max(last.top - back + 1, oldest)
    place = last.reach(wanted)
    seen = [e for sequence, e in found.items() if sequence >= place]
    # All that is wanted is there, from the first message on.
    assert not any(
        e.publications and e.top >= wanted for sequence, e in found.items() if sequence < place
    )
    needed = [e for e in found.values() if e.top >= wanted]
    if 0 not in sizes:
        assert len(seen) <= 2 * len(needed) + 2 or place == 1


@given(st.integers(1, 400), st.integers(1, 40))
def test_there_are_few_jumps(count, keep):
    last = list(chain([1] * count, keep).values())[-1]
    assert len(last.jumps) <= max(count, keep).bit_length() + 2
    assert [j.top for j in last.jumps] == sorted((j.top for j in last.jumps), reverse=True)


def test_entries_are_read_as_written():
    entry = Entry(
        epoch="e", top=3, publications=[b"x"], jumps=[entries.Jump(4, 2)], version=7, expires=9
    )
    assert entries.read_entry(entries.write_entry(entry)) == entry
    assert entries.write_entry(entry)[0] in entries.FIRST_BYTES


@given(st.binary(max_size=60))
@example(b"\xdd\x00\x00\x00\x04\x00\xa1\x80")  # a text that is no UTF-8
def test_anything_else_is_refused(data):
    with pytest.raises(MalformedError):
        entries.read_entry(data)


def test_bottom():
    entry = Entry(epoch="e", top=10, publications=[], size=4, floor=3, expires=100)
    assert (entry.bottom(99), entry.bottom(100)) == (6, 10)
    entry.floor = 8
    assert entry.bottom(1) == 8
