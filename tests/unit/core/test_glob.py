"""Globs for names of channels."""

import pytest

import flyball
from flyball.core.glob import MAX_ALTERNATIVES, compile_glob


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("", ["a", ""], []),
        ("*", ["", "a:b", "a\nb"], []),
        ("chat:*", ["chat:", "chat:1"], ["chat", "xchat:1"]),
        ("**:1", ["chat:1", ":1"], ["chat:12"]),
        ("chat:?", ["chat:1"], ["chat:", "chat:12"]),
        ("{chat,news}:*", ["chat:1", "news:1"], ["{chat,news}:1", "olds:1"]),
        ("{,a}b", ["b", "ab"], ["aab"]),
        ("a{b,{c,d}e}f", ["abf", "acef", "adef"], ["aef", "acf"]),
        ("a{b,c", ["ab", "ac"], ["a", "abc"]),
        ("{}a", ["a"], ["{}a"]),
        ("[a-c]", ["a", "b", "c"], ["d", "-", "ab"]),
        ("[!a-c]", ["d", "-"], ["a", ""]),
        ("[abc]x", ["ax", "cx"], ["dx", "x"]),
        ("[!abc]", ["d"], ["a"]),
        ("[^a]", ["^", "a"], ["b"]),
        ("[^]", ["^"], ["a"]),
        ("\\*", ["*"], ["a"]),
        ("\\{a", ["{a"], ["a"]),
        ("\\[a\\]", ["[a]"], ["a"]),
        ("a]", ["a]"], ["a"]),
        ("a\\", ["a"], ["a\\"]),
        ("[-a]", ["-", "a"], ["b"]),
        ("[!-]", ["a"], ["-"]),
        ("[\\]!]", ["]", "!"], ["a"]),
        ("[!\\]!-]", ["a"], ["]", "!", "-"]),
        ("[\\!-]", ["!", "-"], ["a"]),
        ("[\\!]", ["!"], ["a"]),
        ("[\\a]", ["a"], ["\\"]),
        ("a,b}", ["a,b}"], ["a"]),
        ("x.y+z(", ["x.y+z("], ["xay+z("]),
        ("é*", ["été"[:1] + "x"], ["e"]),
    ],
)
def test_what_fits(pattern, fitting, others):
    fits = compile_glob(pattern)
    assert [name for name in fitting if not fits(name)] == []
    assert [name for name in others if fits(name)] == []


@pytest.mark.parametrize("pattern", ["[", "a[", "[]", "[a-", "[a-]", "[c-a]", "[!]", "[a-cx]"])
def test_malformed(pattern):
    with pytest.raises(flyball.Error) as caught:
        compile_glob(pattern)
    assert caught.value.code == 100
    assert pattern in caught.value.detail


def test_a_glob_stands_for_so_many():
    with pytest.raises(flyball.Error, match="stands for more than"):
        compile_glob("{a,b}" * 20)
    assert MAX_ALTERNATIVES < 2**20


def test_many_stars_take_no_time():
    assert not compile_glob("*a" * 40 + "!")("a" * 200)
