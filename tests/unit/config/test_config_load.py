"""Files, environment and flags: what wins, and in which spellings values may come."""

import json
from pathlib import Path

import pytest

from flyball.core.errors import ConfigError
from flyball.server.config import Config, ConfigProblems, load_config, validate
from flyball.server.config.load import UNKNOWN_KEY, UNKNOWN_VARIABLE

WIRE = Path(__file__).parents[2] / "golden" / "wire-examples.jsonl"


@pytest.fixture
def load(tmp_path):
    """Load a tree written as JSON, or a text written as it is."""

    def run(tree=None, /, name="config.json", env=None, flags=None):
        path = tmp_path / name
        path.write_text(tree if isinstance(tree, str) else json.dumps(tree or {}))
        return load_config(path, environ=env or {}, flags=flags)

    return run


def one_problem(load, tree, env=None):
    with pytest.raises(ConfigProblems) as caught:
        load(tree, env=env)
    (problem,) = caught.value.problems
    return problem


class TestPrecedence:
    def test_defaults(self, load):
        assert load({}).config == Config()

    def test_each_layer_wins_over_the_one_before(self, load):
        tree = {"http_server": {"port": 1}}
        env = {"CENTRIFUGO_HTTP_SERVER_PORT": "2"}
        both = {**env, "FLYBALL_HTTP_SERVER_PORT": "3"}
        flags = {"http_server.port": "4"}
        assert load(tree).config.http_server.port == 1
        assert load(tree, env=env).config.http_server.port == 2
        assert load(tree, env=both).config.http_server.port == 3
        assert load(tree, env=both, flags=flags).config.http_server.port == 4

    def test_empty_variable_is_not_set(self, load):
        env = {"FLYBALL_HTTP_SERVER_PORT": "", "CENTRIFUGO_HTTP_SERVER_PORT": "2"}
        assert load({}, env=env).config.http_server.port == 2

    def test_unknown_flag(self, load):
        with pytest.raises(ConfigProblems, match=r"no flag --http_server.prt.*http_server.port"):
            load({}, flags={"http_server.prt": "1"})

    def test_only_options_with_a_flag_have_one(self, load):
        with pytest.raises(ConfigProblems, match=r"no flag --client\.channel_limit"):
            load({}, flags={"client.channel_limit": "1"})


class TestFiles:
    def test_missing_file_is_a_notice(self, tmp_path):
        loaded = load_config(tmp_path / "none.json", environ={"FLYBALL_PID_FILE": "x"})
        assert loaded.path is None
        assert loaded.config.pid_file == "x"
        assert [notice.event for notice in loaded.notices] == ["config file not found"]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("c.json", '{"client": {"channel_limit": 5}, "proxies": [{"name": "pp"}]}'),
            ("c.yaml", "client:\n  channel_limit: 5\nproxies:\n  - name: pp\n"),
            ("c.yml", "client: {channel_limit: 5}\nproxies: [{name: pp}]\n"),
            ("c.toml", 'client.channel_limit = 5\n[[proxies]]\nname = "pp"\n'),
        ],
    )
    def test_languages(self, load, name, text):
        config = load(text, name=name).config
        assert config.client.channel_limit == 5
        assert [proxy.name for proxy in config.proxies] == ["pp"]

    @pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.toml"])
    def test_broken_file_is_not_quoted(self, load, name):
        with pytest.raises(ConfigError, match="not valid") as caught:
            load('"secret": "hunter2\n[[[', name=name)
        assert "hunter2" not in str(caught.value)

    def test_unknown_extension(self, load):
        with pytest.raises(ConfigError, match=r"\.json, \.toml, \.yaml, \.yml"):
            load("", name="c.ini")

    def test_file_must_hold_an_object(self, load):
        with pytest.raises(ConfigError, match="object"):
            load("[]", name="c.json")

    def test_empty_yaml(self, load):
        assert load("", name="c.yaml").config == Config()

    def test_yaml_words_stay_words(self, load):
        text = "node: {name: off}\nlog: {file: 2024-01-01}"
        config = load(text, name="c.yaml").config
        assert (config.node.name, config.log.file) == ("off", "2024-01-01")
        with pytest.raises(ConfigProblems, match=r"sse\.enabled"):
            load("sse: {enabled: yes}", name="c.yaml")

    def test_keys_nested_or_dotted_in_any_case(self, load):
        tree = {
            "client.channel_limit": 5,
            "Client": {"Token": {"hmac_secret_KEY": "s"}, "token.audience": "a"},
            "CLIENT.token": {"issuer": "i"},
        }
        client = load(tree).config.client
        assert client.channel_limit == 5
        token = client.token
        assert (token.hmac_secret_key, token.audience, token.issuer) == ("s", "a", "i")

    @pytest.mark.parametrize("wrong", [5, "x", [1], True])
    def test_section_must_be_an_object(self, load, wrong):
        problem = one_problem(load, {"client": wrong})
        assert problem.key == "client"
        assert "object" in problem.text

    def test_recorded_configurations(self, load):
        configs = [
            row["config_json"]
            for line in WIRE.read_text().splitlines()
            if line and (row := json.loads(line)).get("case") == "config"
        ]
        assert len(configs) == 17
        for tree in configs:
            loaded = load(tree)
            assert loaded.notices == ()
            problems = [p for p in validate(loaded.config) if not p.key.endswith("_pem")]
            assert problems == [], tree  # the certificates were taken out
            assert loaded.config.http_server.port == tree["http_server"]["port"]


class TestZeroRule:
    @pytest.mark.parametrize(
        ("path", "zero"),
        [
            ("client.channel_limit", 0),
            ("client.ping_interval", "0s"),
            ("client.ping_interval", 0),
            ("channel.private_prefix", ""),
            ("engine.redis.address", []),
            ("http_server.port", None),
        ],
    )
    def test_zero_in_file_keeps_the_default(self, load, path, zero):
        assert load({path: zero}).config == Config()

    def test_zero_in_variable_counts(self, load):
        env = {"CENTRIFUGO_CLIENT_CHANNEL_LIMIT": "0", "CENTRIFUGO_CLIENT_PONG_TIMEOUT": "0s"}
        client = load({}, env=env).config.client
        assert (client.channel_limit, client.pong_timeout) == (0, 0.0)

    def test_negative_switches_off(self, load):
        assert load({"client": {"ping_interval": "-1s"}}).config.client.ping_interval == -1.0

    def test_items_have_defaults_too(self, load):
        tree = {"channel": {"namespaces": [{"name": "aa", "publish_proxy_name": ""}]}}
        assert load(tree).config.channel.namespaces[0].publish_proxy_name == "default"


# option, value in a file, value read
GOOD = [
    ("client.channel_limit", 5, 5),
    ("client.channel_limit", 5.0, 5),
    ("client.channel_limit", "5", 5),
    ("client.channel_limit", "0x10", 16),
    ("client.channel_limit", "-7", -7),
    ("client.channel_limit", "", 128),
    ("sse.enabled", True, True),
    ("sse.enabled", "true", True),
    ("sse.enabled", 1, True),
    ("sse.enabled", "F", False),
    ("client.ping_interval", "1h30m", 5400.0),
    ("client.ping_interval", 2_000_000_000, 2.0),
    ("http_server.internal_port", 9000, "9000"),
    ("node.name", 1.5, "1.5"),
    ("client.allowed_origins", ["a", "b"], ("a", "b")),
    ("client.allowed_origins", "a b", ("a b",)),
    ("broker.nats.raw_mode.channel_replacements", {"Ab": "C"}, {"ab": "C"}),
    ("broker.nats.raw_mode.channel_replacements", [{"key": "Ab", "value": "C"}], {"Ab": "C"}),
]

# option, value in a file, words of the message
BAD = [
    ("client.channel_limit", "abc", "whole number"),
    ("client.channel_limit", 5.5, "whole number"),
    ("client.channel_limit", True, "whole number"),
    ("client.channel_limit", [1], "whole number"),
    ("client.channel_limit", 2**63, "from -9223372036854775808"),
    ("sse.enabled", "yes", "true or false"),
    ("sse.enabled", 2, "true or false"),
    ("client.ping_interval", "5", "duration"),
    ("client.ping_interval", "1d", "duration"),
    ("client.ping_interval", True, "duration"),
    ("node.name", True, "a string"),
    ("node.name", {"a": 1}, "a string"),
    ("client.allowed_origins", 5, "list of strings"),
    ("client.allowed_origins", [["a"]], "list of strings"),
    ("broker.nats.raw_mode.channel_replacements", "a", "object of strings"),
    ("broker.nats.raw_mode.channel_replacements", [{"key": "a"}], "object of strings"),
    ("broker.nats.raw_mode.channel_replacements", ["a"], "object of strings"),
    ("channel.namespaces", {"a": 1}, "list of objects"),
    ("channel.namespaces", "a", "list of objects"),
]

# option, text in a variable, value read
GOOD_TEXT = [
    ("client.channel_limit", "0x10", 16),
    ("client.channel_limit", "010", 8),
    ("client.channel_limit", "0b11", 3),
    ("client.channel_limit", "0o17", 15),
    ("client.channel_limit", "1_000", 1000),
    ("sse.enabled", "t", True),
    ("sse.enabled", "0", False),
    ("client.ping_interval", "300ms", 0.3),
    ("client.allowed_origins", "a  b", ("a", "b")),
    ("broker.nats.raw_mode.channel_replacements", '{"Ab": "C"}', {"Ab": "C"}),
    ("broker.nats.raw_mode.channel_replacements", '[{"key": "A", "value": "C"}]', {"A": "C"}),
    ("http_server.tls.cert_pem", "-----BEGIN X", "-----BEGIN X"),
]

BAD_TEXT = [
    ("client.channel_limit", "5.0", "whole number"),
    ("client.channel_limit", "08", "whole number"),
    ("client.channel_limit", "_1", "whole number"),
    ("client.channel_limit", " 5", "whole number"),
    ("sse.enabled", "yes", "true or false"),
    ("sse.enabled", "tRUE", "true or false"),
    ("client.ping_interval", "1000000000", "duration"),
    ("broker.nats.raw_mode.channel_replacements", "{", "JSON"),
    ("channel.namespaces", '[{"name"', "JSON"),
    ("channel.namespaces", '{"name": "aa"}', "list of objects"),
]


def dig(config, path):
    for name in path.split("."):
        config = getattr(config, name)
    return config


class TestValues:
    @pytest.mark.parametrize(("path", "raw", "value"), GOOD)
    def test_file(self, load, path, raw, value):
        assert dig(load({path: raw}).config, path) == value

    @pytest.mark.parametrize(("path", "raw", "words"), BAD)
    def test_wrong_in_file(self, load, path, raw, words):
        problem = one_problem(load, {path: raw})
        assert problem.key == path
        assert "config.json" in problem.source
        assert words in problem.text

    @pytest.mark.parametrize(("path", "text", "value"), GOOD_TEXT)
    def test_variable(self, load, path, text, value):
        name = f"FLYBALL_{path.upper().replace('.', '_')}"
        assert dig(load({}, env={name: text}).config, path) == value

    @pytest.mark.parametrize(("path", "text", "words"), BAD_TEXT)
    def test_wrong_in_variable(self, load, path, text, words):
        name = f"CENTRIFUGO_{path.upper().replace('.', '_')}"
        problem = one_problem(load, {}, {name: text})
        assert problem.key == path
        assert name in problem.source
        assert words in problem.text

    def test_unsigned_range(self, load):
        transforms = [{"status_code": 404, "to_error": {"code": -1}}]
        path = "rpc.proxy.http.status_to_code_transforms"
        problem = one_problem(load, {path: transforms})
        assert problem.key == f"{path}[0].to_error.code"
        assert "from 0 to 4294967295" in problem.text

    def test_infinite_numbers(self, load):
        with pytest.raises(ConfigProblems) as caught:
            load("client.channel_limit = inf\nclient.ping_interval = nan\n", name="c.toml")
        keys = {problem.key for problem in caught.value.problems}
        assert keys == {"client.channel_limit", "client.ping_interval"}

    def test_all_problems_in_one_report(self, load):
        with pytest.raises(ConfigProblems) as caught:
            load(
                {"http_server.port": "x", "sse": {"enabled": "maybe"}},
                env={"FLYBALL_LOG_LEVEL": "info", "FLYBALL_CLIENT_CHANNEL_LIMIT": "many"},
            )
        keys = [problem.key for problem in caught.value.problems]
        assert keys == ["http_server.port", "client.channel_limit", "sse.enabled"]

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("client.token.hmac_secret_key", ["hunter2"]),
            ("admin.password", {"hunter2": 1}),
            ("client.token.hmac_previous_secret_key_valid_until", "hunter2"),
            ("broker.postgres.dsn", ["hunter2"]),
        ],
    )
    def test_secrets_are_not_shown(self, load, path, value):
        assert "hunter2" not in str(one_problem(load, {path: value}))

    def test_passwords_in_addresses_are_not_shown(self, load):
        env = {"FLYBALL_HTTP_SERVER_PORT": "redis://user:hunter2@host"}
        assert "hunter2" not in str(one_problem(load, {}, env))


class TestNamedLists:
    def test_json_replaces_the_list_of_the_file(self, load):
        tree = {"channel": {"namespaces": [{"name": "aa"}]}}
        env = {"CENTRIFUGO_CHANNEL_NAMESPACES": '[{"name": "bb", "presence": true}]'}
        namespaces = load(tree, env=env).config.channel.namespaces
        assert [(each.name, each.presence) for each in namespaces] == [("bb", True)]

    def test_names_are_appended(self, load):
        tree = {"channel": {"namespaces": [{"name": "aa", "presence": True}]}}
        env = {"CENTRIFUGO_CHANNEL_NAMESPACES": "bb aa cc"}
        namespaces = load(tree, env=env).config.channel.namespaces
        assert [(each.name, each.presence) for each in namespaces] == [
            ("aa", True),
            ("bb", False),
            ("cc", False),
        ]

    def test_each_item_has_variables(self, load):
        env = {
            "FLYBALL_CHANNEL_NAMESPACES": "my-ns.x",
            "CENTRIFUGO_CHANNEL_NAMESPACES_MY_NS_X_HISTORY_TTL": "10s",
            "CENTRIFUGO_CHANNEL_NAMESPACES_MY_NS_X_MAP_MODE": "persistent",
            "CENTRIFUGO_RPC_NAMESPACES": "calls",
            "FLYBALL_RPC_NAMESPACES_CALLS_PROXY_ENABLED": "1",
            "CENTRIFUGO_PROXIES": "px",
            "CENTRIFUGO_PROXIES_PX_HTTP_STATIC_HEADERS": '{"X-A": "b"}',
            "CENTRIFUGO_PROXIES_PX_HTTP_STATUS_TO_CODE_TRANSFORMS": '[{"status_code": 404}]',
            "CENTRIFUGO_CONSUMERS": "qq",
            "CENTRIFUGO_CONSUMERS_QQ_KAFKA_BROKERS": "a b",
        }
        loaded = load({}, env=env)
        assert loaded.notices == ()
        config = loaded.config
        assert config.channel.namespaces[0].name == "my-ns.x"
        assert config.channel.namespaces[0].history_ttl == 10.0
        assert config.channel.namespaces[0].map.mode == "persistent"
        assert config.rpc.namespaces[0].proxy_enabled
        assert config.proxies[0].http.static_headers == {"X-A": "b"}
        assert config.proxies[0].http.status_to_code_transforms[0].status_code == 404
        assert config.consumers[0].kafka.brokers == ("a", "b")

    def test_variables_reach_items_of_the_file(self, load):
        tree = {"channel": {"namespaces": [{"Name": "a-b", "presence": True}]}}
        env = {"CENTRIFUGO_CHANNEL_NAMESPACES_A_B_JOIN_LEAVE": "true"}
        (namespace,) = load(tree, env=env).config.channel.namespaces
        assert namespace.presence
        assert namespace.join_leave

    def test_lists_without_names_take_json_only(self, load):
        path = "client.connect_code_to_unidirectional_disconnect.transforms"
        name = f"CENTRIFUGO_{path.upper().replace('.', '_')}"
        env = {name: '[{"code": 1, "to": {"code": 4500}}]'}
        (transform,) = dig(load({}, env=env).config, path)
        assert (transform.code, transform.to.code) == (1, 4500)
        assert "JSON" in one_problem(load, {}, {name: "one two"}).text


class TestUnknown:
    def test_key_of_the_file(self, load):
        tree = {"channel": {"namespaces": [{"name": "aa", "presense": True}]}, "foo.bar": 1}
        loaded = load(tree)
        assert loaded.unknown_keys == ("channel.namespaces.[0].presense", "foo.bar")
        assert {notice.event for notice in loaded.notices} == {UNKNOWN_KEY}
        assert loaded.notices[-1].hint == "did you mean channel.namespaces.[0].presence?"

    def test_key_of_an_older_version(self, load):
        (notice,) = load({"token_hmac_secret_key": "s"}).notices
        assert notice.hint.endswith("since version 6 it is client.token.hmac_secret_key")

    def test_variable(self, load):
        (notice,) = load({}, env={"CENTRIFUGO_CLIENT_CHANEL_LIMIT": "1"}).notices
        assert notice.event == UNKNOWN_VARIABLE
        assert notice.hint == "did you mean CENTRIFUGO_CLIENT_CHANNEL_LIMIT?"

    @pytest.mark.parametrize(
        "name",
        [
            "CENTRIFUGO_VAR_X",
            "FLYBALL_VAR_X",
            "CENTRIFUGO_PORT",
            "CENTRIFUGO_SERVICE_HOST",
            "CENTRIFUGO_SERVICE_PORT_HTTP",
            "CENTRIFUGO_INTERNAL_PORT_8000_TCP_ADDR",
            "FLYBALL_PORT_8000_TCP",
            "OTHER_X",
        ],
    )
    def test_variables_of_others(self, load, name):
        assert load({}, env={name: "x"}).notices == ()

    def test_kubernetes_clash_is_explained(self, load):
        problem = one_problem(load, {}, {"CENTRIFUGO_GRPC_API_PORT": "tcp://10.0.0.1:80"})
        assert "enableServiceLinks" in problem.text


class TestVariablesInsideValues:
    def test_replaced_everywhere_in_the_file(self, load):
        tree = {
            "client": {"allowed_origins": ["https://${CENTRIFUGO_VAR_HOST}"]},
            "http_server": {"port": "${FLYBALL_VAR_PORT}"},
        }
        env = {"CENTRIFUGO_VAR_HOST": "x.org", "FLYBALL_VAR_PORT": "81"}
        config = load(tree, env=env).config
        assert config.client.allowed_origins == ("https://x.org",)
        assert config.http_server.port == 81

    def test_missing_variable(self, load):
        problem = one_problem(load, {"log": {"file": "${CENTRIFUGO_VAR_NONE}"}})
        assert problem.key == "log.file"
        assert "CENTRIFUGO_VAR_NONE" in problem.text

    def test_other_names_are_text(self, load):
        assert load({"log.file": "${HOME}"}).config.log.file == "${HOME}"


class TestDotenv:
    def test_spellings(self, tmp_path):
        path = tmp_path / ".env"
        path.write_text(
            "# comment\n"
            "export CENTRIFUGO_HTTP_SERVER_PORT=81\n"
            "CENTRIFUGO_LOG_FILE='a $X # b'\n"
            'CENTRIFUGO_NODE_NAME="line\\none"  # comment\n'
            "BASE=/srv\n"
            "CENTRIFUGO_PID_FILE=${BASE}/pid # comment\n"
            "CENTRIFUGO_LOG_LEVEL=debug\n"
            'CENTRIFUGO_HTTP_SERVER_TLS_CERT_PEM="-----BEGIN\nX"\n'
        )
        config = load_config(None, environ={"CENTRIFUGO_LOG_LEVEL": "warn"}, dotenv=path).config
        assert config.http_server.port == 81
        assert config.log.file == "a $X # b"
        assert config.node.name == "line\none"
        assert config.pid_file == "/srv/pid"
        assert config.log.level == "warn"
        assert config.http_server.tls.cert_pem == "-----BEGIN\nX"

    def test_missing_file(self, tmp_path):
        loaded = load_config(None, environ={}, dotenv=tmp_path / ".env")
        assert loaded.config == Config()


def test_unknown_log_level_is_a_notice(load):
    (notice,) = load({"log.level": "loud"}).notices
    assert notice.key == "loud"
    assert "info" in notice.hint


class TestDepth:
    """A file nested so deep that no reader comes to an end is a mistake like any other."""

    LAUGHS = "a: &a [1]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n"
        for old, new in zip("abcdefghijkl", "bcdefghijklm", strict=True)
    )

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("config.json", "[" * 200_000),
            ("config.json", '{"a":' * 200_000),
            ("config.json", '{"a":' * 40 + "1" + "}" * 40),
            ("config.yaml", "[" * 200_000),
            ("config.yaml", "a: " + "[" * 40 + "]" * 40),
            ("config.yaml", LAUGHS),
            ("config.toml", "a=" + "[" * 200_000),
        ],
    )
    def test_in_files(self, load, name, text):
        with pytest.raises(ConfigError, match="nested too deep"):
            load(text, name=name)

    @pytest.mark.parametrize("text", ["[" * 200_000, "[" * 40 + "]" * 40])
    def test_in_variables(self, load, text):
        name = "FLYBALL_CHANNEL_NAMESPACES"
        assert "nested too deep" in one_problem(load, {}, {name: text}).text
