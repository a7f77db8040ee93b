"""Who may do what: every strategy, for every kind of client."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flyball.core.errors import Disconnect, Error
from flyball.protocol import codes
from flyball.server.channels import (
    HISTORY,
    MAP_PUBLISH,
    MAP_REMOVE,
    PRESENCE,
    PUBLISH,
    ChannelRules,
    ChannelRulesOptions,
    Decision,
    RpcRules,
    RpcRulesOptions,
    Verdict,
    decide,
    decide_rpc,
    decide_subscribe,
    decide_token,
    decide_wish,
)
from flyball.server.channels.options import ChannelOptions, MapOptions, RpcOptions

BOOLS = (False, True)


def rules_with(**options):
    namespace = ChannelOptions(**options)
    return ChannelRules(
        ChannelRulesOptions(without_namespace=namespace, namespaces={"ns": namespace})
    )


def publish(rules, channel, user, subscribed, insecure):
    return decide(
        PUBLISH, rules.resolve(channel), data=b"1", user=user, subscribed=subscribed,
        insecure=insecure,
    )  # fmt: skip


def presence(rules, channel, user, subscribed, insecure):
    return decide(
        PRESENCE, rules.resolve(channel), user=user, subscribed=subscribed, insecure=insecure
    )


def history(rules, channel, user, subscribed, insecure):
    return decide(
        HISTORY, rules.resolve(channel), user=user, subscribed=subscribed, insecure=insecure
    )


OPERATIONS = {
    "publish": (publish, {}),
    "presence": (presence, {"presence": True}),
    "history": (history, {"history_size": 1, "history_ttl": 1.0}),
}


def expected_rule(prefix, client, subscriber, anonymous, user, subscribed, insecure):
    """Written down a second time, straight from the documentation."""
    if client and (user or anonymous):
        return f"{prefix}_for_client"
    if subscriber and subscribed and (user or anonymous):
        return f"{prefix}_for_subscriber"
    return "insecure" if insecure else "nothing allows it"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("client", "subscriber", "anonymous"), list(product(BOOLS, BOOLS, BOOLS)))
def test_three_strategies(operation, client, subscriber, anonymous):
    decide_on, needed = OPERATIONS[operation]
    prefix = f"allow_{operation}"
    rules = rules_with(
        **needed,
        **{
            f"{prefix}_for_client": client,
            f"{prefix}_for_subscriber": subscriber,
            f"{prefix}_for_anonymous": anonymous,
        },
    )
    for user, subscribed, insecure in product(("", "42"), BOOLS, BOOLS):
        decision = decide_on(rules, "ns:1", user, subscribed, insecure)
        rule = expected_rule(prefix, client, subscriber, anonymous, user, subscribed, insecure)
        assert decision.rule == rule
        assert decision.allowed is (rule != "nothing allows it")
        assert decision.code == (None if decision.allowed else codes.PERMISSION_DENIED)
        if decision.allowed:
            # Whatever is allowed is one and the same value each time.
            assert decide_on(rules, "ns:1", user, subscribed, insecure) is decision
        else:
            assert len(decision.why) == len(decision.looked_at)


@given(
    st.fixed_dictionaries(
        {
            f"allow_{operation}_for_{who}": st.booleans()
            for operation in ("history", "presence")
            for who in ("client", "subscriber", "anonymous")
        }
    ),
    st.sampled_from(("", "1")),
    st.booleans(),
)
def test_access_of_a_subscriber_to_be(options, user, insecure):
    rules = rules_with(presence=True, history_size=1, history_ttl=1.0, **options)
    assert rules.namespace("x").rights(user, insecure=insecure) == (
        history(rules, "x", user, True, insecure).allowed,
        presence(rules, "x", user, True, insecure).allowed,
    )


@pytest.mark.parametrize("removed", BOOLS)
@pytest.mark.parametrize(("client", "subscriber", "anonymous"), list(product(BOOLS, BOOLS, BOOLS)))
def test_map_writes(removed, client, subscriber, anonymous):
    verb = "remove" if removed else "publish"
    options = MapOptions(
        **{
            f"allow_{verb}_for_client": client,
            f"allow_{verb}_for_subscriber": subscriber,
            f"allow_{verb}_for_anonymous": anonymous,
        }
    )
    rules = rules_with(map=options)
    for user, subscribed, insecure in product(("", "42"), BOOLS, BOOLS):
        decision = decide(
            MAP_REMOVE if removed else MAP_PUBLISH, rules.resolve("ns:1"), user=user,
            subscribed=subscribed, insecure=insecure,
        )  # fmt: skip
        prefix = f"map.allow_{verb}"
        assert decision.rule == expected_rule(
            prefix, client, subscriber, anonymous, user, subscribed, insecure
        )


def test_map_proxies_decide():
    rules = rules_with(map=MapOptions(publish_proxy_enabled=True, allow_remove_for_client=True))
    channel = rules.resolve("ns:1")
    write = decide(MAP_PUBLISH, channel, user="1", subscribed=True, insecure=True)
    assert (write.asks, write.rule) == (True, "map.publish_proxy_enabled")
    assert decide(MAP_REMOVE, channel, user="1", subscribed=False, insecure=False).allowed


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unknown_namespace_and_name_come_first(operation):
    decide_on, needed = OPERATIONS[operation]
    rules = rules_with(**needed)
    assert decide_on(rules, "nope:1", "1", True, True).code == codes.UNKNOWN_CHANNEL
    assert decide_on(rules, "ns:é", "1", True, True).code == codes.BAD_REQUEST
    assert decide_on(rules, "ns:" + "x" * 300, "1", True, True).code == codes.BAD_REQUEST


def test_off_features_are_not_available_even_if_insecure():
    rules = rules_with(allow_presence_for_client=True, allow_history_for_client=True)
    assert presence(rules, "x", "1", True, True).code == codes.NOT_AVAILABLE
    assert history(rules, "x", "1", True, True).code == codes.NOT_AVAILABLE
    only_size = rules_with(allow_history_for_client=True, history_size=10)
    assert history(only_size, "x", "1", True, True).code == codes.NOT_AVAILABLE


def test_publish_data_before_permission():
    rules = rules_with(publication_data_format="json", publish_proxy_enabled=True)
    decision = decide(
        PUBLISH, rules.resolve("x"), data=b"{", user="1", subscribed=True, insecure=True
    )
    assert (decision.rule, decision.code) == ("publication_data_format", codes.BAD_REQUEST)


@pytest.mark.parametrize(
    ("options", "rule", "code"),
    [
        ({"publish_proxy_enabled": True}, "publish_proxy_enabled", None),
        (
            {"publish_proxy_enabled": True, "subscribe_stream_proxy_enabled": True},
            "publish_proxy_enabled",
            None,
        ),
        (
            {"subscribe_stream_proxy_enabled": True, "subscribe_stream_proxy_bidirectional": True},
            "subscribe_stream_proxy_bidirectional",
            None,
        ),
        (
            {"subscribe_stream_proxy_enabled": True},
            "subscribe_stream_proxy_bidirectional is off",
            codes.NOT_AVAILABLE,
        ),
    ],
)
def test_publish_proxies_decide_alone(options, rule, code):
    rules = rules_with(allow_publish_for_client=True, **options)
    decision = publish(rules, "x", "1", True, True)
    assert (decision.rule, decision.code, decision.allowed) == (rule, code, False)
    assert decision.asks is (code is None)


# -- subscribe


def subscribe(rules, channel, user="", *, token=False, kind=0, insecure=False):
    return decide_subscribe(
        rules.resolve(channel), user=user, has_token=token, kind=kind, insecure=insecure
    )


@pytest.mark.parametrize(("client", "anonymous"), list(product(BOOLS, BOOLS)))
@pytest.mark.parametrize("limited", BOOLS)
def test_subscribe_strategies(client, anonymous, limited):
    rules = rules_with(
        allow_subscribe_for_client=client,
        allow_subscribe_for_anonymous=anonymous,
        allow_user_limited_channels=limited,
    )
    for channel, user, insecure in product(("ns:a", "ns:a#1,2"), ("", "1", "3"), BOOLS):
        names_users = limited and "#" in channel
        if names_users and user == "1":
            rule = "user_limited"
        elif not names_users and client and (user or anonymous):
            rule = "allow_subscribe_for_client"
        else:
            rule = "insecure" if insecure else "nothing allows it"
        decision = subscribe(rules, channel, user, insecure=insecure)
        assert decision.rule == rule
        assert decision.allowed is (rule != "nothing allows it")
        if not decision.allowed:
            assert decision.code == codes.PERMISSION_DENIED
            assert len(decision.why) == len(decision.looked_at)


ORDER = [
    # channel, options, request -> rule, code
    ("nope:1", {}, {"token": True}, "unknown namespace", codes.UNKNOWN_CHANNEL),
    ("nope:é", {}, {}, "unknown namespace", codes.UNKNOWN_CHANNEL),
    ("é", {"subscription_type": "map"}, {}, "channel name not allowed", codes.BAD_REQUEST),
    ("$x", {"subscription_type": "map"}, {}, "subscription_type differs", codes.PERMISSION_DENIED),
    ("x", {"subscription_type": "map"}, {"kind": 2}, "subscription_type differs", codes.PERMISSION_DENIED),
    ("x", {}, {"kind": 1}, "subscription_type differs", codes.PERMISSION_DENIED),
    ("nope:1", {}, {"kind": 4}, "subscription_type is not shared_poll", codes.NOT_AVAILABLE),
    ("é", {"subscription_type": "shared_poll"}, {}, "subscription_type is shared_poll", codes.BAD_REQUEST),
    ("$x", {}, {}, "a private channel needs a token", codes.PERMISSION_DENIED),
    ("$x", {}, {"insecure": True}, "a private channel needs a token", codes.PERMISSION_DENIED),
    ("$x", {}, {"token": True}, "token", None),
    ("x#1", {"allow_user_limited_channels": True}, {"token": True, "user": "1"}, "token", None),
    ("x", {"allow_subscribe_for_client": True}, {"token": True, "user": "1"}, "token", None),
    ("x#1", {"allow_user_limited_channels": True, "subscribe_proxy_enabled": True}, {"user": "1"}, "user_limited", None),
    ("x#1", {"allow_user_limited_channels": True, "subscribe_proxy_enabled": True}, {"user": "2"}, "nothing allows it", codes.PERMISSION_DENIED),
    ("x#1", {"subscribe_proxy_enabled": True}, {"user": "2"}, "subscribe_proxy_enabled", None),
    ("x", {"subscribe_proxy_enabled": True, "subscribe_stream_proxy_enabled": True}, {}, "subscribe_proxy_enabled", None),
    ("x", {"subscribe_stream_proxy_enabled": True, "allow_subscribe_for_client": True}, {"user": "1"}, "subscribe_stream_proxy_enabled", None),
    ("x", {"subscribe_proxy_enabled": True}, {"insecure": True}, "subscribe_proxy_enabled", None),
]  # fmt: skip


@pytest.mark.parametrize(("channel", "options", "request_", "rule", "code"), ORDER)
def test_subscribe_order(channel, options, request_, rule, code):
    decision = subscribe(rules_with(**options), channel, **request_)
    assert (decision.rule, decision.code) == (rule, code)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("", 0), ("stream", 0), ("map", 1), ("map_clients", 2), ("map_users", 3), ("shared_poll", 4)],
)
def test_matching_type_goes_on(name, kind):
    rules = rules_with(subscription_type=name, allow_subscribe_for_client=True)
    for asked in range(5):
        assert subscribe(rules, "ns:x", "1", kind=asked).allowed is (asked == kind)


def test_types_that_do_not_exist_are_left_to_the_session():
    rules = rules_with(allow_subscribe_for_client=True)
    assert subscribe(rules, "x", "1", kind=5).allowed
    assert subscribe(rules, "x", "1", kind=-1).allowed
    assert subscribe(rules_with(), "x", "1", kind=5).code == codes.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("given_", "allowed"),
    [
        ({}, True),
        ({"token_client": "c"}, True),
        ({"token_channel": "y"}, False),
        ({"token_user": "2"}, False),
        ({"token_user": ""}, False),
        ({"token_client": "other"}, False),
    ],
)
def test_token_must_fit(given_, allowed):
    asked = {"channel": "x", "user": "1", "client": "c", "token_channel": "x", "token_user": "1"}
    decision = decide_token(**{**asked, **given_})
    assert decision.allowed is allowed
    assert decision.code == (None if allowed else codes.DISCONNECT_INVALID_TOKEN)


@pytest.mark.parametrize(
    ("channel", "options", "user", "code"),
    [
        ("ns:1", {"allow_subscribe_for_client": True}, "1", None),
        ("ns:1", {"allow_subscribe_for_client": True}, "", codes.PERMISSION_DENIED),
        ("ns:1#1", {"allow_user_limited_channels": True}, "1", None),
        ("ns:1#1", {"allow_user_limited_channels": True, "allow_subscribe_for_client": True}, "2", codes.PERMISSION_DENIED),
        ("$ns:1", {"allow_subscribe_for_client": True}, "1", codes.PERMISSION_DENIED),
        ("ns:é", {"allow_subscribe_for_client": True}, "1", codes.BAD_REQUEST),
        ("ns:1", {"subscribe_proxy_enabled": True}, "1", codes.PERMISSION_DENIED),
        ("ns:1", {"allow_subscribe_for_client": True, "subscription_type": "map"}, "1", codes.PERMISSION_DENIED),
        ("ns:1", {"allow_subscribe_for_client": True, "subscription_type": "shared_poll"}, "1", codes.BAD_REQUEST),
        ("nope:1", {}, "1", codes.DISCONNECT_BAD_REQUEST),
    ],
)  # fmt: skip
def test_wish(channel, options, user, code):
    rules = rules_with(**options)
    assert decide_wish(rules.resolve(channel), user=user, insecure=False).code == code


# -- invariants

option_sets = st.fixed_dictionaries(
    {
        name: st.booleans()
        for name in (
            "presence",
            "allow_subscribe_for_client",
            "allow_subscribe_for_anonymous",
            "allow_user_limited_channels",
            "allow_publish_for_client",
            "allow_publish_for_subscriber",
            "allow_publish_for_anonymous",
            "allow_history_for_client",
            "allow_history_for_anonymous",
            "subscribe_proxy_enabled",
            "subscribe_stream_proxy_enabled",
        )
    }
)
names = st.text("abns:#$,1é", max_size=12)
users = st.sampled_from(("", "1", "a"))


@given(option_sets, names, users, st.booleans())
def test_private_never_without_token(options, name, user, insecure):
    decision = subscribe(rules_with(**options), "$" + name, user, insecure=insecure)
    assert not decision.allowed
    assert not decision.asks


@given(option_sets, names, users, st.booleans(), st.booleans())
def test_a_token_always_has_the_word_or_is_refused_for_the_name(
    options, name, user, insecure, token
):
    decision = subscribe(rules_with(**options), name, user, token=token, insecure=insecure)
    assert not (decision.allowed and decision.asks)
    assert (decision.code is None) is (decision.allowed or decision.asks)
    if token:
        assert not decision.allowed
        assert decision.asks or decision.code in (codes.UNKNOWN_CHANNEL, codes.BAD_REQUEST)


@given(option_sets, names, users)
def test_others_never_enter_user_limited_channels(options, name, user):
    rules = rules_with(**{**options, "allow_user_limited_channels": True})
    channel = "ns:" + name + "#x,y"
    decision = subscribe(rules, channel, user)
    assert not decision.allowed
    assert not decision.asks


@given(option_sets, names, users, st.booleans())
def test_insecure_only_widens(options, name, user, subscribed):
    rules = rules_with(**options)
    for decide_on in (publish, presence, history):
        if decide_on(rules, name, user, subscribed, False).allowed:
            assert decide_on(rules, name, user, subscribed, True).allowed
    if subscribe(rules, name, user).allowed:
        assert subscribe(rules, name, user, insecure=True).allowed


@given(option_sets, names, st.booleans(), st.booleans())
def test_a_user_may_whatever_anonymous_may(options, name, subscribed, insecure):
    rules = rules_with(**options)
    for decide_on in (publish, presence, history):
        if decide_on(rules, name, "", subscribed, insecure).allowed:
            assert decide_on(rules, name, "1", subscribed, insecure).allowed
    if subscribe(rules, name, "", insecure=insecure).allowed:
        assert subscribe(rules, name, "1", insecure=insecure).allowed


@given(option_sets, names, users)
def test_a_wish_gives_nothing_that_a_subscribe_would_not(options, name, user):
    rules = rules_with(**options)
    if decide_wish(rules.resolve(name), user=user, insecure=False).allowed:
        assert subscribe(rules, name, user).allowed


# -- RPC


PROXIED = {"a": RpcOptions(proxy_enabled=True), "b": RpcOptions()}


@pytest.mark.parametrize(
    ("method", "options", "outcome"),
    [
        ("ping", {"ping_enabled": True}, True),
        ("pong", {"ping_enabled": True, "ping_method": "pong"}, True),
        ("ping", {}, codes.NOT_AVAILABLE),
        ("x", {}, codes.NOT_AVAILABLE),
        ("nope:x", {}, codes.NOT_AVAILABLE),
        ("x", {"ping_enabled": True}, codes.METHOD_NOT_FOUND),
        ("a:x", {"namespaces": PROXIED}, "ask"),
        ("b:x", {"namespaces": PROXIED}, codes.NOT_AVAILABLE),
        ("c:x", {"namespaces": PROXIED}, codes.METHOD_NOT_FOUND),
        ("x", {"namespaces": PROXIED}, codes.NOT_AVAILABLE),
        (":x", {"namespaces": PROXIED}, codes.NOT_AVAILABLE),
        ("x", {"without_namespace": RpcOptions(proxy_enabled=True)}, "ask"),
        ("c:x", {"without_namespace": RpcOptions(proxy_enabled=True), "boundary": ""}, "ask"),
        ("ping", {"without_namespace": RpcOptions(proxy_enabled=True), "ping_enabled": True}, True),
    ],
)
def test_rpc(method, options, outcome):
    decision = decide_rpc(RpcRules(RpcRulesOptions(**options)), method)
    assert decision.allowed is (outcome is True)
    assert decision.asks is (outcome == "ask")
    assert decision.code == (outcome if outcome not in (True, "ask") else None)


# -- decisions as values


def test_sentences():
    rules = rules_with(allow_publish_for_subscriber=True)
    refused = publish(rules, "ns:1", "42", False, False)
    assert refused.sentence("publish to 'ns:1'") == (
        "publish to 'ns:1' is refused (103 permission denied): nothing allows it (looked at "
        "before: publish_proxy_enabled is off, subscribe_stream_proxy_enabled is off, "
        "allow_publish_for_client is off, allow_publish_for_subscriber is for subscribers only, "
        "insecure is off)"
    )
    by_subscriber = publish(rules, "ns:1", "42", True, False)
    assert by_subscriber.sentence("publish to 'ns:1'") == (
        "publish to 'ns:1' is allowed by allow_publish_for_subscriber (looked at before: "
        "publish_proxy_enabled, subscribe_stream_proxy_enabled, allow_publish_for_client)"
    )
    anonymous = publish(rules, "ns:1", "", True, False)
    assert "allow_publish_for_subscriber is not for anonymous users" in anonymous.sentence("x")
    asks = subscribe(rules_with(subscribe_proxy_enabled=True), "x")
    assert "subscribe_proxy_enabled decides" in asks.sentence("subscribe")
    limited = subscribe(rules_with(allow_user_limited_channels=True), "x#1", "2")
    assert "user_limited does not list the user" in limited.sentence("subscribe")


def test_exceptions():
    error = Decision(Verdict.REFUSE, "r", codes.NOT_AVAILABLE).exception("act")
    assert isinstance(error, Error)
    assert (error.code, error.message) == (108, "not available")
    assert error.detail == "act is refused (108 not available): r"
    end = Decision(Verdict.REFUSE, "r", codes.DISCONNECT_INVALID_TOKEN).exception("act")
    assert isinstance(end, Disconnect)
    assert end.code == 3500
    with pytest.raises(ValueError, match="not a refusal"):
        Decision(Verdict.ALLOW, "r").exception("act")
