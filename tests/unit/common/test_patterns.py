"""Patterns mean what RE2 makes of them."""

from time import perf_counter

import pytest

from flyball.core.errors import ConfigError
from flyball.server.common.patterns import compile_pattern

MATCHES = [
    ("^[a-z]+$", "abc", True),
    ("^[a-z]+$", "abc\n", False),
    (r"^a\z", "a", True),
    (r"^a\z", "a\n", False),
    (r"^\d+$", "٣", False),
    (r"^\w$", "é", False),
    (r"^\W$", "é", True),
    (r"^[\W]$", "é", True),
    (r"^\s$", "\v", False),
    (r"^[^\s]$", "\v", True),
    (r"^\S$", "\v", True),
    (r"^[[:alpha:]_]+$", "Ab_", True),
    (r"^[[:alpha:]_]+$", "a1", False),
    (r"^[[:word:]-]+$", "a-1", True),
    (r"^\pL+$", "жé", True),
    (r"^[\p{L}\d]+$", "ж1", True),
    (r"^\p{L}+$", "1", False),
    (r"^\PL$", "1", True),
    (r"^\p{^L}$", "1", True),
    (r"^\p{Cyrillic}+$", "жук", True),
    (r"^\p{Cyrillic}+$", "zhuk", False),
    (r"^\p{Han}$", "語", True),
    (r"^\Qa.b*\E$", "a.b*", True),
    (r"^\Qa.b*\E$", "axb*", False),
    (r"\Qa+", "a+", True),
    ("a(?i)b|c", "aB", True),
    ("^(?:a(?i)b|c)$", "C", True),
    ("^(?:a(?i)b|c)$", "AB", False),
    ("(?i)^chat$", "ChAt", True),
    ("^(?i:chat)x$", "CHATX", False),
    ("(?m)^a$", "b\na\nc", True),
    ("^a$", "b\na\nc", False),
    ("(?s)^a.b$", "a\nb", True),
    ("^a.b$", "a\nb", False),
    ("^x{2,3}$", "xxx", True),
    ("^x{,3}$", "x{,3}", True),
    ("^x{2,3}?$", "xxxx", False),
    (r"^\x41\x{1F600}\101$", "A\U0001f600A", True),
    ("^[]a]+$", "]a", True),
    ("^[^]a]+$", "b", True),
    ("^[a&&b]+$", "&", True),
    ("^[a-c-]+$", "b-", True),
    ("^[+--]+$", ",", True),
    (r"^[\]\\]+$", "]\\", True),
    ("(?P<year>[0-9]+)", "2024", True),
    ("(?<year>[0-9]+)", "2024", True),
    ("^a~b#c$", "a~b#c", True),
    ("^(a|)$", "", True),
    (r"\bfoo\b", "a foo b", True),
]


@pytest.mark.parametrize(("pattern", "text", "expected"), MATCHES)
def test_meaning(pattern, text, expected):
    assert bool(compile_pattern(pattern, "channel_regex").search(text)) is expected


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(?>a)", "(?#c)", "(a)(?P=a)", r"(a)\1",
        "a**", "a*+", "a++", "*a", "(+)", "a|*", "x{1001}", "x{1,1001}", "x{3,2}",
        "(a", "a)", "[a", "[z-a]", "[[:nope:]]", r"\p{Klingon}", r"\p{L", r"\Z", r"\C", r"\8",
        "\\", r"\x1", r"\x{110000}", "(?x)a", r"[a-\d]", "[a\\",
    ],
)  # fmt: skip
def test_refused_with_the_option_named(pattern):
    with pytest.raises(ConfigError) as refused:
        compile_pattern(pattern, "channel.namespaces[chat].channel_regex")
    assert "channel.namespaces[chat].channel_regex" in str(refused.value)
    assert repr(pattern) in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)\1", r"invalid escape sequence: \1"),
        ("(?P<a>x)(?<a>y)", "duplicate group name: a"),
        (r"\Q\C\E\C", r"invalid escape sequence: \C"),
        ("é(", "missing ): é("),
        ("(?=a)", "invalid perl operator: (?="),
    ],
)
def test_the_reason_is_told(pattern, reason, capfd):
    with pytest.raises(ConfigError, match=r"^x: .* is not a valid pattern") as refused:
        compile_pattern(pattern, "x")
    assert str(refused.value).endswith(f"(RE2 syntax): {reason}")
    assert capfd.readouterr() == ("", "")


def test_what_stands_for_itself_is_no_extra():
    assert compile_pattern(r"^\Q\C\E\\C$", "x").search("\\C\\C")


@pytest.mark.parametrize(
    "pattern", ["^([a-z]+_?)+$", "^(a+)+$", "(x+x+)+y", "^(([a-z])+.)+[A-Z]([a-z])+$"]
)
def test_no_pattern_takes_long(pattern):
    """Each of these would run for hours where patterns backtrack."""
    compiled = compile_pattern(pattern, "x")
    started = perf_counter()
    for text in ("a" * 255 + "!", "x" * 255 + "!", "a" * 4096 + "!"):
        assert not compiled.search(text)
        assert compiled.groups(text) is None
    assert perf_counter() - started < 1


def test_named_groups_of_the_whole_text():
    pattern = compile_pattern("(?P<tenant>[é-ż]+)@(?<place>[a-z]+)?(?P<rest>!)?", "x")
    assert pattern.names == {"tenant", "place", "rest"}
    assert pattern.groups("żé@here") == {"tenant": "żé", "place": "here"}
    assert pattern.groups("żé@here!x") is None


def test_half_a_surrogate_pair_is_a_character():
    assert compile_pattern("^.$", "x").search("\ud800")
    assert not compile_pattern("^[a-z]+$", "x").search("a\ud800")


def test_a_pattern_shows_itself():
    assert repr(compile_pattern("^a$", "x")) == "Pattern('^a$')"
