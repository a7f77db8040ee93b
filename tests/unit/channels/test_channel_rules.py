"""Channel names, their namespaces, and the options made of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from flyball.core.errors import ConfigError
from flyball.core.types import RecoveryMode
from flyball.server.channels import OVERRIDES, ChannelRules, ChannelRulesOptions, overrides_of
from flyball.server.channels.names import cut_namespace, split_channel
from flyball.server.channels.options import ChannelOptions
from flyball.server.channels.overrides import BoolValue, OverrideMessage


def make(without=None, **options):
    kinds = {
        "chat": ChannelOptions(presence=True),
        "limited": ChannelOptions(allow_user_limited_channels=True),
        "digits": ChannelOptions(channel_regex="^[0-9]+$"),
    }
    return ChannelRules(
        ChannelRulesOptions(
            without_namespace=without or ChannelOptions(),
            namespaces=options.pop("namespaces", kinds),
            **options,
        )
    )


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("news", ""),
        ("chat:1", "chat"),
        ("chat:a:b", "chat"),
        ("$chat:1", "chat"),
        ("$news", ""),
        ("$$chat:1", "$chat"),
        (":x", ""),
        ("chat:", "chat"),
        ("#42", ""),
        ("chat:#42", "chat"),
        ("nope:1", "nope"),
    ],
)
def test_namespace_of(channel, name):
    assert split_channel(channel, ":", "$")[0] == name


def test_namespace_options():
    rules = make()
    assert rules.namespace("chat:1").options is rules.options.namespaces["chat"]
    assert rules.namespace("news").options is rules.options.without_namespace
    assert rules.namespace(":news").options is rules.options.without_namespace
    assert rules.namespace("nope:1") is None
    assert rules.namespace("$chat:1").options.presence
    assert rules.namespace_named("chat") is rules.namespace("chat:1")
    assert rules.namespace_named("") is rules.without_namespace
    assert rules.namespace_named("nope") is None


def test_other_boundaries():
    rules = make(boundary="/", private_prefix="!", user_boundary="@", user_separator=";")
    assert rules.namespace("!chat/1").name == "chat"
    assert rules.namespace("chat:1").name == ""
    assert rules.resolve("!x").private
    assert not rules.resolve("$x").private
    assert rules.resolve("limited/x@1;2").users == ("1", "2")
    assert rules.personal_channel("7", "chat") == "chat/@7"


def test_empty_boundaries_switch_off():
    rules = make(boundary="", private_prefix="", user_boundary="")
    assert rules.namespace("chat:1").name == ""
    assert not rules.resolve("$x").private
    assert not rules.resolve("").private
    assert rules.resolve("limited#1").users == ()


@pytest.mark.parametrize(
    ("channel", "fine"),
    [
        ("chat:1", True),
        ("chat:é", False),
        ("é", False),
        ("nope:1", False),
        ("digits:12", True),
        ("$digits:12", True),
        ("digits:12\n", False),
        ("digits:1a", False),
        ("digits:", False),
        ("chat:" + "x" * 250, True),
        ("chat:" + "x" * 251, False),
    ],
)
def test_name_ok(channel, fine):
    assert make().resolve(channel).valid is fine


def test_regex_without_namespace_sees_the_whole_name():
    rules = make(ChannelOptions(channel_regex=r"^\$?\p{L}+$"))
    assert rules.resolve("$жизнь").valid
    assert rules.resolve("жизнь").valid
    assert not rules.resolve("жизнь1").valid


def test_length_counts_bytes():
    rules = make(ChannelOptions(channel_regex=".*"), max_length=4)
    assert rules.resolve("éé").valid
    assert not rules.resolve("ééa").valid
    assert make(max_length=0).resolve("x" * 10_000).valid


def test_errors_name_the_option():
    with pytest.raises(ConfigError, match=r"channel\.namespaces\[bad\]\.channel_regex"):
        make(namespaces={"bad": ChannelOptions(channel_regex="(")})
    with pytest.raises(ConfigError, match=r"channel\.without_namespace\.channel_regex"):
        make(ChannelOptions(channel_regex="("))
    with pytest.raises(ConfigError, match="'xml', allowed are '', 'json'"):
        make(ChannelOptions(publication_data_format="xml"))


def test_users():
    rules = make()
    assert rules.resolve("limited:room#1,2").users == ("1", "2")
    assert rules.resolve("limited:a#b#3").users == ("3",)
    assert rules.resolve("limited:room").users == ()
    assert rules.resolve("limited:room#").users == ()
    assert "2" in rules.resolve("limited:room#1,2").users
    assert "3" not in rules.resolve("limited:room#1,2").users
    assert "" not in rules.resolve("limited:room#").users
    assert "" not in rules.resolve("limited:room#1,").users
    assert rules.resolve("limited:room#1").user_limited
    assert not rules.resolve("limited:room").user_limited
    assert not rules.resolve("chat:room#1").user_limited


def test_personal_channel():
    assert make().personal_channel("42") == "#42"
    assert make().personal_channel("42", "chat") == "chat:#42"


def test_memory_of_channels_is_bounded():
    rules = ChannelRules(ChannelRulesOptions(), cached=10)
    for i in range(95):
        rules.resolve(f"chat:{i}")
        assert len(rules._cache) <= 10
    assert rules.resolve("chat:94") is rules.resolve("chat:94")
    rules.resolve("chat:" + "x" * 300)
    assert "chat:" + "x" * 300 not in rules._cache


FORMATS = [
    ("", b"", False),
    ("", b"anything", True),
    ("binary", b"", True),
    ("binary", b"\x00\xff", True),
    ("json", b"", False),
    ("json", b"1", True),
    ("json", b' {"a": [1, 2.5e10, "x", null]} ', True),
    ("json", b"1e999", True),
    ("json", b"123456789012345678901234567890", True),
    ("json", b'{"a":}', False),
    ("json", b"{} {}", False),
    ("json", b"\xff", False),
    ("json", b"[" * 100_000, False),
    ("json", rb'"\ud800"', True),
    ("json", rb'{"\ud800":"\udc00\ud83d\ude00"}', True),
    ("json", rb'"\ud800" 1', False),
    ("json", rb'"\ud80"', False),
    ("json_object", rb' {"a":"\ud800"}', True),
    ("json_object", rb'["\ud800"]', False),
    ("json_object", rb'{"a":"\ud800"', False),
    ("json_object", b'{"a":1e999}', True),
    ("json_object", b"{}", True),
    ("json_object", b"[]", False),
    ("json_object", b"null", False),
    ("json_object", b'"x"', False),
    ("json_object", b'{"a"', False),
    ("json_object", b"", False),
]


@pytest.mark.parametrize(("kind", "data", "fine"), FORMATS)
def test_data_formats(kind, data, fine):
    rules = make(ChannelOptions(publication_data_format=kind))
    data_ok = rules.namespace("x").data_ok
    assert data_ok(data) is fine
    assert data_ok(Raw(data)) is fine


def test_default_data_format():
    rules = make(
        publication_data_format="json",
        namespaces={
            "raw": ChannelOptions(publication_data_format="binary"),
            "any": ChannelOptions(),
        },
    )
    assert rules.namespace("raw:1").data_ok(b"")
    assert not rules.namespace("any:1").data_ok(b"x")


# -- options for the core


FULL = ChannelOptions(
    presence=True,
    join_leave=True,
    force_push_join_leave=True,
    force_positioning=True,
    force_recovery=True,
    force_recovery_mode="cache",
    auto_cache_recover=True,
    allowed_delta_types=("fossil",),
    allow_tags_filter=True,
    history_size=10,
    history_ttl=60.0,
    history_meta_ttl=90.0,
    sub_refresh_proxy_enabled=True,
    delta_publish=True,
)


def test_subscribe_options_of_the_namespace():
    rules = make(FULL)
    options = rules.namespace("x").subscribe_options()
    assert options.presence
    assert options.join_leave
    assert options.push_join_leave
    assert options.positioned
    assert options.recoverable
    assert options.recovery_mode is RecoveryMode.CACHE
    assert options.auto_cache_recover
    assert options.allowed_deltas == {"fossil"}
    assert options.allow_tags_filter
    assert options.history_meta_ttl == 90
    assert not options.client_side_refresh
    assert not options.allow_positioning
    assert not options.allow_recovery
    assert not options.allow_join_leave
    assert rules.namespace("x").shaped_options({}) is options


def test_subscribe_options_by_default():
    rules = make()
    options = rules.namespace("x").subscribe_options()
    assert not options.presence
    assert options.recovery_mode is RecoveryMode.STREAM
    assert options.history_meta_ttl == 2_592_000
    assert options.client_side_refresh
    assert options.allowed_deltas == frozenset()


@pytest.mark.parametrize("name", OVERRIDES)
@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("base", [FULL, ChannelOptions()])
def test_override(name, value, base):
    namespace = make(base).without_namespace
    plain = namespace.subscribe_options()
    message = OverrideMessage(**{name: BoolValue(value=value)})
    options = namespace.shaped_options(overrides_of(message))
    for field in OVERRIDES.values():
        expected = value if field == OVERRIDES[name] else getattr(plain, field)
        assert getattr(options, field) is expected


def test_subscribe_options_with_extras():
    rules = make()
    options = rules.namespace("chat:1").shaped_options(
        {}, info=Raw(b"1"), data=Raw(b"2"), expire_at=5.0
    )
    assert (options.info, options.data, options.expire_at) == (Raw(b"1"), Raw(b"2"), 5.0)
    assert options.presence


@given(history=st.booleans(), presence=st.booleans(), join_leave=st.booleans(), allow=st.booleans())
def test_wishes(history, presence, join_leave, allow):
    base = ChannelOptions(join_leave=join_leave, allow_positioning=allow, allow_recovery=allow)
    namespace = make(base).without_namespace
    options = namespace.subscribe_options((history, presence))
    assert options.allow_positioning is (allow or history)
    assert options.allow_recovery is (allow or history)
    assert options.allow_join_leave is (join_leave and presence)
    assert not options.positioned
    assert not options.recoverable


def test_publish_options():
    plain = make(FULL).without_namespace.publish_options
    assert (plain.history_size, plain.history_ttl, plain.history_meta_ttl) == (10, 60, 90)
    assert plain.delta
    assert plain.keeps_history


def test_names_of_overrides_are_those_of_the_message():
    assert tuple(OVERRIDES) == OverrideMessage.__struct_fields__
    assert overrides_of(None) == {}
    assert overrides_of(OverrideMessage(presence=BoolValue())) == {"presence": False}


@pytest.mark.parametrize(
    ("name", "boundary", "parts"),
    [
        ("a:b:c", ":", ("a", "b:c")),
        (":b", ":", ("", "b")),
        ("ab", ":", ("", "ab")),
        ("a:b", "", ("", "a:b")),
        ("a::b", "::", ("a", "b")),
    ],
)
def test_a_namespace_is_cut_off(name, boundary, parts):
    assert cut_namespace(name, boundary) == parts
