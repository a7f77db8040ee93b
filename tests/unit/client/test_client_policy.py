"""What the policy's handlers answer, without a node."""

import inspect
import logging

import pytest
import structlog
from msgspec import Raw
from policy_fakes import (
    Claims,
    ConnectToken,
    FakeConnection,
    FakeTokens,
    SubscribeToken,
    make_handlers,
    make_rules,
)

from flyball.core.errors import Disconnect, Error
from flyball.core.events import (
    Connecting,
    HistoryQuery,
    PresenceQuery,
    Publishing,
    Refreshing,
    RefreshResult,
    Rpc,
    SubRefreshing,
    Subscribing,
)
from flyball.core.types import (
    Credentials,
    HistoryFilter,
    PublishOptions,
    SubscribeOptions,
    SubscriptionSource,
)
from flyball.server.channels import ProxyKind, RpcRulesOptions
from flyball.server.channels.options import ChannelOptions, MapOptions, RpcOptions
from flyball.server.client import ClientProxies, PersonalChannelOptions

OPEN = ChannelOptions(allow_subscribe_for_client=True, presence=True)


async def connect(handlers, connection=None, **event):
    return await handlers.on_connecting(Connecting(connection or FakeConnection(), **event))


async def code_of(awaitable):
    with pytest.raises((Error, Disconnect)) as raised:
        await awaitable
    return raised.value.code


# -- connect: who it is


async def test_token_says_who():
    tokens = FakeTokens(t=ConnectToken("42", 99.0, Raw(b'{"n":1}'), {"plan": "pro"}))
    credentials = await connect(make_handlers(tokens=tokens), token="t")
    assert credentials == Credentials(
        user="42", info=Raw(b'{"n":1}'), meta={"plan": "pro"}, expire_at=99.0
    )


@pytest.mark.parametrize(("token", "code"), [("expired", 109), ("bad", 3500)])
async def test_bad_tokens(token, code):
    # Nothing else counts once there is a token.
    handlers = make_handlers(insecure=True, user_id_http_header="X-User")
    assert await code_of(connect(handlers, token=token, headers={"x-user": "1"})) == code


async def test_anonymous_tokens_may_be_refused():
    tokens = FakeTokens(t=ConnectToken())
    assert (await connect(make_handlers(tokens=tokens), token="t")).user == ""
    strict = make_handlers(tokens=tokens, disallow_anonymous_connection_tokens=True)
    assert await code_of(connect(strict, token="t")) == 3507


async def test_no_credentials():
    with pytest.raises(Disconnect) as raised:
        await connect(make_handlers(user_id_http_header="X-User"))
    assert raised.value.code == 3501
    assert "allow_anonymous_connect_without_token" in raised.value.detail
    assert "X-User" in raised.value.detail


@pytest.mark.parametrize(
    ("options", "headers", "user"),
    [
        ({"allow_anonymous_connect_without_token": True}, {}, ""),
        ({"insecure": True}, {}, ""),
        ({"user_id_http_header": "X-User-Id"}, {"x-user-id": "7"}, "7"),
        # Anonymous connects beat the header.
        ({"insecure": True, "user_id_http_header": "X-U"}, {"x-u": "7"}, ""),
        (
            {"allow_anonymous_connect_without_token": True, "user_id_http_header": "X-U"},
            {"x-u": "7"},
            "",
        ),
    ],
)
async def test_without_token(options, headers, user):
    credentials = await connect(make_handlers(**options), headers=headers)
    assert credentials.user == user
    assert credentials.expire_at == 0


async def test_an_empty_header_is_none():
    handlers = make_handlers(user_id_http_header="X-U")
    assert await code_of(connect(handlers, headers={"x-u": ""})) == 3501


async def test_insecure_drops_expiry_until_a_refresh():
    tokens = FakeTokens(t=ConnectToken("42", 99.0))
    handlers = make_handlers(tokens=tokens, insecure=True)
    assert (await connect(handlers, token="t")).expire_at == 0
    refreshed = await handlers.on_refresh(Refreshing(FakeConnection("42"), "t"))
    assert refreshed.expire_at == 99


async def test_connect_proxy_is_asked_only_without_token():
    asked = []

    async def ask(event, _rules):
        asked.append(event)
        return Credentials(user="p", expire_at=5.0, subs=["chat:1"])

    tokens = FakeTokens(t=ConnectToken("42"))
    handlers = make_handlers(
        make_rules(chat=OPEN),
        tokens,
        proxies=ClientProxies(connect=ask),
        allow_anonymous_connect_without_token=True,
        personal_channel=PersonalChannelOptions(enabled=True, single_connection=True),
    )
    assert (await connect(handlers, token="t")).user == "42"
    assert not asked
    credentials = await connect(handlers, subs=("chat:2",))
    assert (credentials.user, credentials.expire_at) == ("p", 5.0)
    assert credentials.single_connection
    # Its subscriptions and the personal channel, but no wishes.
    assert set(credentials.subs) == {"chat:1", "#p"}
    assert credentials.subs["chat:1"].presence


async def test_connect_proxy_may_know_nobody():
    async def ask(event, _rules):
        return None

    proxies = ClientProxies(connect=ask)
    assert await code_of(connect(make_handlers(proxies=proxies))) == 3501
    anonymous = make_handlers(proxies=proxies, allow_anonymous_connect_without_token=True)
    assert (await connect(anonymous)).user == ""


async def test_refresh_proxy_means_the_server_refreshes():
    async def ask(event):
        return RefreshResult(expire_at=7.0)

    tokens = FakeTokens(t=ConnectToken("42", 9.0))
    handlers = make_handlers(tokens=tokens, proxies=ClientProxies(refresh=ask))
    assert not (await connect(handlers, token="t")).client_side_refresh
    assert (await handlers.on_refresh(Refreshing(FakeConnection("42")))).expire_at == 7.0


# -- connect: server-side subscriptions


async def test_token_subscriptions():
    tokens = FakeTokens(
        t=ConnectToken(
            "42",
            subs={
                "chat:1": Claims(),
                "$chat:2": Claims(Raw(b"1"), Raw(b"2"), {"presence": False, "recoverable": True}),
            },
        )
    )  # fmt: skip
    connection = FakeConnection()
    credentials = await connect(
        make_handlers(make_rules(chat=ChannelOptions(presence=True)), tokens), connection, token="t"
    )
    plain, special = credentials.subs["chat:1"], credentials.subs["$chat:2"]
    assert plain.presence
    assert not plain.recoverable
    assert (special.presence, special.recoverable) == (False, True)
    assert (special.info, special.data) == (Raw(b"1"), Raw(b"2"))


async def test_token_with_unknown_namespace():
    tokens = FakeTokens(t=ConnectToken("42", subs={"nope:1": Claims()}))
    assert await code_of(connect(make_handlers(tokens=tokens), token="t")) == 102


PERSONAL = PersonalChannelOptions(enabled=True, namespace="own")


@pytest.mark.parametrize(
    ("personal", "user", "subs", "single"),
    [
        (PersonalChannelOptions(enabled=True), "42", {"#42"}, False),
        (PERSONAL, "42", {"own:#42"}, False),
        (PERSONAL, "", set(), False),
        (PersonalChannelOptions(enabled=True, single_connection=True), "42", {"#42"}, True),
        (PersonalChannelOptions(enabled=True, single_connection=True), "", set(), False),
        (PersonalChannelOptions(single_connection=True), "42", set(), False),
    ],
)
async def test_personal_channel(personal, user, subs, single):
    handlers = make_handlers(
        make_rules(own=ChannelOptions(presence=True)),
        FakeTokens(t=ConnectToken(user)),
        personal_channel=personal,
    )
    credentials = await connect(handlers, token="t")
    assert set(credentials.subs) == subs
    assert credentials.single_connection is single


async def test_no_personal_channel_by_header():
    handlers = make_handlers(
        personal_channel=PersonalChannelOptions(enabled=True), user_id_http_header="X-U"
    )
    credentials = await connect(handlers, headers={"x-u": "7"}, subs=("x",))
    assert credentials == Credentials(user="7")


async def test_personal_channel_in_unknown_namespace():
    tokens = FakeTokens(t=ConnectToken("42"))
    handlers = make_handlers(make_rules(), tokens, personal_channel=PERSONAL)
    assert await code_of(connect(handlers, token="t")) == 102


async def test_personal_options_replace_those_of_the_token():
    tokens = FakeTokens(t=ConnectToken("42", subs={"#42": Claims(data=Raw(b"1"))}))
    handlers = make_handlers(tokens=tokens, personal_channel=PersonalChannelOptions(enabled=True))
    assert (await connect(handlers, token="t")).subs["#42"].data == Raw(b"")


async def test_wishes():
    rules = make_rules(
        chat=ChannelOptions(
            allow_subscribe_for_client=True, presence=True, allow_user_limited_channels=True
        ),
        closed=ChannelOptions(),
        proxied=ChannelOptions(subscribe_proxy_enabled=True),
    )
    tokens = FakeTokens(t=ConnectToken("42", subs={"closed:1": Claims()}))
    wishes = (
        "chat:1", "$chat:1", "chat:é", "chat:a#42", "chat:a#43", "closed:1", "closed:2", "proxied:1",
    )  # fmt: skip
    credentials = await connect(make_handlers(rules, tokens), token="t", subs=wishes)
    assert set(credentials.subs) == {"chat:1", "chat:a#42", "closed:1"}
    assert credentials.subs["chat:1"].presence
    anonymous = make_handlers(rules, insecure=True)
    assert set((await connect(anonymous, subs=("", *wishes))).subs) == {
        "chat:1", "chat:a#42", "chat:a#43", "closed:1", "closed:2",
    }  # fmt: skip


async def test_wish_for_unknown_namespace_ends_the_connection():
    handlers = make_handlers(insecure=True)
    assert await code_of(connect(handlers, subs=("nope:1",))) == 3501


# -- subscribe


async def subscribe(handlers, channel, user="", connection=None, **event):
    result = handlers.on_subscribe(
        Subscribing(connection or FakeConnection(user), channel, **event)
    )
    return await result if inspect.isawaitable(result) else result


async def test_subscribe_without_waiting():
    handlers = make_handlers(make_rules(chat=OPEN))
    options = handlers.on_subscribe(Subscribing(FakeConnection("1"), "chat:1"))
    assert isinstance(options, SubscribeOptions)
    assert options.presence


@pytest.mark.parametrize(
    ("channel", "event", "code"),
    [
        ("nope:1", {}, 102),
        ("chat:é", {}, 107),
        ("map:1", {}, 103),
        ("map:1", {"type": 1}, 108),
        ("map:1", {"type": 2}, 103),
        ("closed:1", {}, 103),
        ("$chat:1", {}, 103),
        ("poll:1", {"type": 4}, 108),
        ("poll:1", {}, 107),
        ("chat:1", {"type": 4}, 108),
        ("proxied:1", {}, 108),
        ("stream:1", {}, 108),
        ("chat:1", {"token": "expired"}, 109),
        ("chat:1", {"token": "bad"}, 103),
        ("chat:1", {"token": "connection"}, 103),
        ("chat:1", {"token": "other_channel"}, 3500),
        ("chat:1", {"token": "other_user"}, 3500),
        ("chat:1", {"token": "other_client"}, 3500),
        ("chat:1", {"token": "lost"}, 102),
    ],
)
async def test_subscribe_refused(channel, event, code):
    rules = make_rules(
        chat=OPEN,
        closed=ChannelOptions(),
        map=ChannelOptions(subscription_type="map", allow_subscribe_for_client=True),
        poll=ChannelOptions(subscription_type="shared_poll", allow_subscribe_for_client=True),
        proxied=ChannelOptions(subscribe_proxy_enabled=True),
        stream=ChannelOptions(subscribe_stream_proxy_enabled=True),
    )
    tokens = FakeTokens(
        connection=ConnectToken("1"),
        other_channel=SubscribeToken("1", "chat:2"),
        other_user=SubscribeToken("2", "chat:1"),
        other_client=SubscribeToken("1", "chat:1", client="c9"),
        lost=SubscribeToken("2", "none:1"),
    )
    assert await code_of(subscribe(make_handlers(rules, tokens), channel, "1", **event)) == code


async def test_subscribe_by_token():
    overrides = {"presence": False, "positioned": True}
    token = SubscribeToken("1", "$chat:1", "c1", 77.0, Raw(b"1"), Raw(b"2"), overrides)
    handlers = make_handlers(make_rules(chat=ChannelOptions(presence=True)), FakeTokens(t=token))
    options = await subscribe(handlers, "$chat:1", "1", token="t")
    assert (options.presence, options.positioned) == (False, True)
    assert (options.info, options.data, options.expire_at) == (Raw(b"1"), Raw(b"2"), 77.0)


async def test_subscription_tokens_of_their_own():
    handlers = make_handlers(
        make_rules(chat=ChannelOptions()),
        FakeTokens(t=SubscribeToken("1", "chat:1")),
        FakeTokens(s=SubscribeToken("1", "chat:1")),
    )
    assert await code_of(subscribe(handlers, "chat:1", "1", token="t")) == 103
    assert await subscribe(handlers, "chat:1", "1", token="s")


@pytest.mark.parametrize("token", ["", "t"])
@pytest.mark.parametrize(
    ("own", "user", "insecure", "expected"),
    [
        # allow_positioning, allow_recovery, allow_join_leave
        ({}, "1", False, (False, False, False)),
        ({"allow_positioning": True}, "1", False, (True, False, False)),
        ({"allow_recovery": True}, "1", False, (False, True, False)),
        ({"allow_history_for_subscriber": True}, "1", False, (True, True, False)),
        ({"allow_history_for_client": True}, "", False, (False, False, False)),
        (
            {"allow_history_for_client": True, "allow_history_for_anonymous": True},
            "", False, (True, True, False),
        ),
        ({"join_leave": True, "allow_presence_for_subscriber": True}, "1", False, (False, False, True)),
        ({"allow_presence_for_subscriber": True}, "1", False, (False, False, False)),
        ({"join_leave": True}, "1", True, (True, True, True)),
    ],
)  # fmt: skip
async def test_wished_modes(token, own, user, insecure, expected):
    own = {"allow_subscribe_for_client": True, "allow_subscribe_for_anonymous": True, **own}
    handlers = make_handlers(
        make_rules(chat=ChannelOptions(**own)),
        FakeTokens(t=SubscribeToken(user, "chat:1")),
        insecure=insecure,
    )
    options = await subscribe(handlers, "chat:1", user, token=token)
    assert (
        options.allow_positioning,
        options.allow_recovery,
        options.allow_join_leave,
    ) == expected


async def test_subscribe_proxies():
    asked = []

    async def ask(event, namespace):
        asked.append(namespace.name)
        return SubscribeOptions(presence=True)

    async def stream(event, namespace):
        return SubscribeOptions(join_leave=True)

    handlers = make_handlers(
        make_rules(
            a=ChannelOptions(subscribe_proxy_enabled=True),
            b=ChannelOptions(subscribe_stream_proxy_enabled=True),
        ),
        proxies=ClientProxies(
            subscribe={ProxyKind.SUBSCRIBE: ask, ProxyKind.SUBSCRIBE_STREAM: stream}
        ),
    )
    assert (await subscribe(handlers, "a:1")).presence
    assert asked == ["a"]
    assert (await subscribe(handlers, "b:1")).join_leave


# -- publish, presence, history


def publish(handlers, channel="chat:1", connection=None, data=b"1", **event):
    return handlers.on_publish(
        Publishing(connection or FakeConnection("1"), channel, Raw(data), **event)
    )


def test_publish_options_are_the_namespace_s():
    own = ChannelOptions(
        allow_publish_for_client=True, history_size=5, history_ttl=60.0, delta_publish=True
    )
    handlers = make_handlers(make_rules(chat=own))
    options = publish(handlers)
    assert isinstance(options, PublishOptions)
    assert (options.history_size, options.history_ttl, options.delta) == (5, 60, True)
    assert publish(handlers) is options
    assert publish(handlers, type=2) is options, "of all types only that of maps is another thing"


def test_publish_for_subscribers_that_are_live():
    handlers = make_handlers(make_rules(chat=ChannelOptions(allow_publish_for_subscriber=True)))
    connection = FakeConnection("1", "chat:1")
    assert publish(handlers, connection=connection)
    del connection.subscribed["chat:1"]
    with pytest.raises(Error) as raised:
        publish(handlers, connection=connection)
    assert raised.value.code == 103
    assert "allow_publish_for_subscriber is for subscribers only" in raised.value.detail


@pytest.mark.parametrize(
    ("channel", "data", "event", "code"),
    [
        ("nope:1", b"1", {}, 102),
        ("chat:é", b"1", {}, 107),
        ("chat:1", b"", {}, 107),
        ("json:1", b"{", {}, 107),
        ("closed:1", b"1", {}, 103),
        ("proxied:1", b"1", {}, 108),
        ("stream:1", b"1", {}, 108),
        ("both:1", b"1", {}, 108),
        ("map:1", b"1", {"type": 1, "key": "k"}, 108),
        ("map:1", b"", {"type": 1, "key": "k", "removed": True}, 103),
    ],
)
def test_publish_refused(channel, data, event, code):
    rules = make_rules(
        chat=ChannelOptions(allow_publish_for_client=True),
        json=ChannelOptions(allow_publish_for_client=True, publication_data_format="json"),
        closed=ChannelOptions(),
        proxied=ChannelOptions(publish_proxy_enabled=True),
        stream=ChannelOptions(subscribe_stream_proxy_enabled=True),
        both=ChannelOptions(
            subscribe_stream_proxy_enabled=True, subscribe_stream_proxy_bidirectional=True
        ),
        map=ChannelOptions(subscription_type="map", map=MapOptions(allow_publish_for_client=True)),
    )
    with pytest.raises(Error) as raised:
        publish(make_handlers(rules), channel, data=data, **event)
    assert raised.value.code == code
    assert repr(channel) in raised.value.detail


async def test_publish_proxies():
    async def ask(event, namespace):
        return PublishOptions(tags={"by": namespace.name})

    async def stream(event, namespace):
        return None

    handlers = make_handlers(
        make_rules(
            a=ChannelOptions(publish_proxy_enabled=True),
            b=ChannelOptions(
                subscribe_stream_proxy_enabled=True, subscribe_stream_proxy_bidirectional=True
            ),
        ),
        proxies=ClientProxies(publish={ProxyKind.PUBLISH: ask, ProxyKind.SUBSCRIBE_STREAM: stream}),
    )
    assert (await publish(handlers, "a:1")).tags == {"by": "a"}
    assert await publish(handlers, "b:1") is None


def ask_presence(handlers, channel, connection):
    return handlers.on_presence(PresenceQuery(connection, channel))


def ask_history(handlers, channel, connection):
    return handlers.on_history(HistoryQuery(connection, channel, HistoryFilter()))


@pytest.mark.parametrize("ask", [ask_presence, ask_history])
def test_reading(ask):
    on = {"presence": True, "history_size": 1, "history_ttl": 1.0}
    mine = {"allow_presence_for_subscriber": True, "allow_history_for_subscriber": True}
    handlers = make_handlers(
        make_rules(chat=ChannelOptions(**on, **mine), off=ChannelOptions(**mine))
    )
    subscriber = FakeConnection("1", "chat:1", "off:1")
    allowed = ask(handlers, "chat:1", subscriber)
    assert allowed in (True, HistoryFilter(meta_ttl=2_592_000.0))
    for channel, connection, code in (
        ("chat:1", FakeConnection("1"), 103),
        ("chat:1", FakeConnection("", "chat:1"), 103),
        ("off:1", subscriber, 108),
        ("nope:1", subscriber, 102),
        ("chat:é", subscriber, 107),
    ):
        with pytest.raises(Error) as raised:
            ask(handlers, channel, connection)
        assert raised.value.code == code


# -- RPC


async def test_rpc():
    async def ask(event, namespace):
        return {"called": event.method}

    rpc = RpcRulesOptions(
        ping_enabled=True,
        namespaces={"a": RpcOptions(proxy_enabled=True), "b": RpcOptions()},
    )
    connection = FakeConnection("1")
    handlers = make_handlers(rpc=rpc, proxies=ClientProxies(rpc=ask))
    assert handlers.on_rpc(Rpc(connection, "ping", Raw())) is None
    assert await handlers.on_rpc(Rpc(connection, "a:x", Raw())) == {"called": "a:x"}
    for method, code in (("b:x", 108), ("c:x", 104), ("x", 108)):
        with pytest.raises(Error) as raised:
            handlers.on_rpc(Rpc(connection, method, Raw()))
        assert raised.value.code == code
    with pytest.raises(Error) as raised:
        make_handlers(rpc=rpc).on_rpc(Rpc(connection, "a:x", Raw()))
    assert raised.value.code == 108


# -- refresh


async def test_refresh():
    tokens = FakeTokens(t=ConnectToken("42", 99.0, Raw(b"1"), {"m": 1}), forever=ConnectToken("42"))
    handlers, connection = make_handlers(tokens=tokens), FakeConnection("42")
    result = await handlers.on_refresh(Refreshing(connection, "t"))
    assert result == RefreshResult(99.0, info=Raw(b"1"), subs=frozenset(), meta={"m": 1})
    # A token without expiry lifts the deadline and leaves info and meta alone.
    result = await handlers.on_refresh(Refreshing(connection, "forever"))
    assert (result.expire_at, result.expired, result.info, result.meta) == (0, False, None, None)


async def test_refresh_refused():
    # The channels of a token are looked at before its user, whose mistake would be final.
    lost = ConnectToken("43", subs={"none:a": Claims()})
    tokens = FakeTokens(other=ConnectToken("43"), lost=lost)
    handlers, connection = make_handlers(tokens=tokens), FakeConnection("42")
    assert (await handlers.on_refresh(Refreshing(connection, "expired"))).expired
    assert (await handlers.on_refresh(Refreshing(connection, ""))).expired
    assert await code_of(handlers.on_refresh(Refreshing(connection, "bad"))) == 3500
    assert await code_of(handlers.on_refresh(Refreshing(connection, "other"))) == 3500
    assert await code_of(handlers.on_refresh(Refreshing(connection, "lost"))) == 102


async def test_refresh_names_the_channels_of_its_token():
    """The node compares them with those that the connection's token gave."""
    tokens = FakeTokens(
        first=ConnectToken("42", subs={"a": Claims()}),
        next=ConnectToken("42", subs={"a": Claims(), "b": Claims()}),
    )
    handlers = make_handlers(
        make_rules(without=ChannelOptions(allow_subscribe_for_client=True)),
        tokens,
        personal_channel=PersonalChannelOptions(enabled=True),
    )
    credentials = await connect(handlers, FakeConnection(), token="first", subs=("w",))
    sources = {name: options.source for name, options in credentials.subs.items()}
    assert sources == {
        "a": None,  # the node's: the credentials of the connection
        "#42": SubscriptionSource.RULE,
        "w": SubscriptionSource.CLIENT,
    }
    result = await handlers.on_refresh(Refreshing(FakeConnection("42"), "next"))
    assert result.subs == {"a", "b"}


async def test_an_empty_name_is_never_subscribed_but_missed_by_a_refresh():
    tokens = FakeTokens(t=ConnectToken("42", subs={"": Claims(), "a": Claims()}))
    handlers = make_handlers(tokens=tokens)
    assert (await connect(handlers, token="t")).subs.keys() == {"a"}
    result = await handlers.on_refresh(Refreshing(FakeConnection("42"), "t"))
    assert result.subs == {"", "a"}


async def test_sub_refresh():
    tokens = FakeTokens(
        t=SubscribeToken("42", "chat:1", "c1", 99.0, Raw(b"1")),
        other=SubscribeToken("43", "chat:1"),
        elsewhere=SubscribeToken("42", "chat:2"),
        lost=SubscribeToken("43", "none:2"),
    )
    handlers, connection = (
        make_handlers(make_rules(chat=OPEN), tokens),
        FakeConnection("42", "chat:1"),
    )

    def refresh(token):
        return handlers.on_sub_refresh(SubRefreshing(connection, "chat:1", token))

    assert await refresh("t") == RefreshResult(expire_at=99.0, info=Raw(b"1"))
    for token, code in (
        ("expired", 109),
        ("bad", 3500),
        ("other", 3500),
        ("elsewhere", 3500),
        ("lost", 102),
    ):
        assert await code_of(refresh(token)) == code
    assert await code_of(refresh("")) == 107
    connection.subscribed["chat:1"] = SubscribeOptions(client_side_refresh=False)
    assert (await refresh("")).expired


async def test_sub_refresh_proxy():
    async def ask(event, namespace):
        return RefreshResult(expire_at=5.0)

    handlers = make_handlers(
        make_rules(chat=ChannelOptions(sub_refresh_proxy_enabled=True)),
        FakeTokens(t=SubscribeToken("42", "chat:1", expire_at=9.0)),
        proxies=ClientProxies(sub_refresh=ask),
    )
    connection = FakeConnection("42", "chat:1")
    assert (await handlers.on_sub_refresh(SubRefreshing(connection, "chat:1"))).expire_at == 5.0
    assert (
        await handlers.on_sub_refresh(SubRefreshing(connection, "chat:1", "t"))
    ).expire_at == 9.0
    assert await code_of(handlers.on_sub_refresh(SubRefreshing(connection, "nope:1"))) == 102


# -- the log


@pytest.mark.parametrize(
    ("level", "events"),
    [
        (logging.WARNING, []),
        (logging.INFO, ["refused"]),
        (logging.DEBUG, ["allowed by allow_publish_for_subscriber", "refused"]),
    ],
)
def test_log(level, events, caplog):
    handlers = make_handlers(make_rules(chat=ChannelOptions(allow_publish_for_subscriber=True)))
    with structlog.testing.capture_logs() as logs, caplog.at_level(level, "flyball.client"):
        publish(handlers, connection=FakeConnection("1", "chat:1"))
        with pytest.raises(Error):
            publish(handlers, connection=FakeConnection("1"))
    assert len(logs) == len(events)
    for log, event in zip(logs, events, strict=True):
        assert event in log["event"]
        assert (log["client"], log["user"]) == ("c1", "1")
        assert log.get("transport", "fake") == "fake"
