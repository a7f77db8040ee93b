"""Heads that come as fields, by HTTP/2 or HTTP/3, and that HTTP/1.1 would not have."""

import pytest

from flyball.http.multiplex.request import BadFields, read_head

ASKED = {b":method": b"GET", b":path": b"/a?b=c", b":authority": b"h"}


def read(**changed):
    fields = {**ASKED, **{name.encode("latin-1"): value for name, value in changed.items()}}
    return read_head([*fields.items()], max_headers=10)[0]


def test_what_is_asked():
    head = read(**{":path": b"/a-_.~!$&'()*+,;=:@%20\"<>[]^`{|}?x y".replace(b" ", b"+")})
    assert head.path == "/a-_.~!$&'()*+,;=:@%20\"<>[]^`{|}"
    assert head.query == "x+y"
    assert read(x=b"a\tb \xc3\xa4").headers["x"] == "a\tb \xc3\xa4"


@pytest.mark.parametrize("text", [b"\0", b"\r", b"\n", b" ", b"\t", b"\x1f", b"\x7f", b"\xe4"])
def test_a_path_that_no_url_has(text):
    for path in (b"/a" + text + b"b", b"/a?b" + text, text):
        with pytest.raises(BadFields, match=r"control character|no URL has"):
            read(**{":path": path})


@pytest.mark.parametrize("text", [b"", b"GET /x", b"G\r\n", b"G:", b"(G"])
def test_a_method_that_is_no_word(text):
    with pytest.raises(BadFields, match=r"control character|a method called"):
        read(**{":method": text})


@pytest.mark.parametrize("text", [b"a\r\nx: y", b"\n", b"a\0", b"\x0b", b"\x7f"])
@pytest.mark.parametrize("name", ["x", ":authority"])
def test_a_value_with_control_characters(name, text):
    with pytest.raises(BadFields, match=r"control character"):
        read(**{name: text})


@pytest.mark.parametrize("name", ["a b", "a\r\nb", "a(", "a,b", "\xe4", ""])
def test_a_name_that_is_no_word(name):
    with pytest.raises(BadFields, match="a header called"):
        read(**{name: b"x"})
