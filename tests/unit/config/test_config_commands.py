"""Commands around the configuration, and the server's flags."""

import json
import stat
import threading
import tomllib
import urllib.error
import urllib.request

import pytest
import typer
import typer.main
import yaml
from typer.testing import CliRunner

from flyball.cli.config_commands import page_server, register, server_flag_options, spell_out
from flyball.server.config import Config, load_config, to_plain
from flyball.server.config.generate import environment
from flyball.server.config.sources import read_dotenv
from flyball.server.config.table import rows


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch):
    app = typer.Typer()
    register(app)

    def invoke(*arguments, env=None):
        return CliRunner().invoke(app, arguments, env=env)

    return invoke


RICH = {
    "channel": {
        "namespaces": [
            {"name": "chat", "history_size": 10, "history_ttl": "5m", "presence": True},
            {"name": "a-b", "map": {"mode": "persistent"}, "subscription_type": "map"},
        ]
    },
    "proxies": [
        {
            "name": "pp",
            "endpoint": "http://localhost:1/x y",
            "http": {
                "static_headers": [{"key": "X-A", "value": 'it\'s "quoted" $HOME\\'}],
                "status_to_code_transforms": [{"status_code": 404, "to_error": {"code": 404}}],
            },
        }
    ],
    "consumers": [{"name": "cc", "type": "kafka", "kafka": {"brokers": ["a", "b"]}}],
    "client": {"ping_interval": "-1s", "allowed_origins": ["https://a", "https://b"]},
    "admin": {"password": "line\nbreak"},
}


class TestGenconfig:
    @pytest.mark.parametrize("name", ["config.json", "c.yaml", "c.toml"])
    def test_writes_fresh_secrets(self, run, workplace, name):
        result = run("genconfig", "-c", name)
        assert (result.exit_code, result.output) == (0, "")
        path = workplace / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        config = load_config(path, environ={}).config
        secrets = [config.client.token.hmac_secret_key, config.admin.secret, config.http_api.key]
        assert [len(secret) for secret in secrets] == [86, 86, 86]
        assert len(config.admin.password) == 22
        assert len({*secrets}) == 3
        path.unlink()
        run("genconfig", "-c", name)
        again = load_config(path, environ={}).config
        assert again.http_api.key != config.http_api.key

    def test_refuses_to_overwrite(self, run, workplace):
        (workplace / "config.json").write_text("mine")
        result = run("genconfig")
        assert result.exit_code == 1
        assert result.stdout == "error: output config file already exists: config.json\n"
        assert (workplace / "config.json").read_text() == "mine"

    def test_unknown_extension(self, run):
        result = run("genconfig", "-c", "c.ini")
        assert result.exit_code == 1
        assert ".json" in result.stdout


class TestCheckconfig:
    def test_good(self, run, workplace):
        (workplace / "config.json").write_text(json.dumps(RICH))
        result = run("checkconfig")
        assert (result.exit_code, result.stdout) == (0, "")

    def test_every_problem_is_one_line(self, run, workplace):
        (workplace / "c.json").write_text('{"client.channel_limit": "x", "sse.enabled": "x"}')
        result = run("checkconfig", "-c", "c.json")
        assert result.exit_code == 1
        lines = result.stdout.splitlines()
        assert [line.split()[:2] for line in lines] == [
            ["error:", "client.channel_limit"],
            ["error:", "sse.enabled"],
        ]

    def test_rules_are_checked(self, run, workplace):
        (workplace / "c.json").write_text('{"proxies": [{"name": "pp"}]}')
        result = run("checkconfig", "-c", "c.json")
        assert result.exit_code == 1
        assert "proxies[0].endpoint" in result.stdout

    def test_unknown_keys(self, run, workplace):
        (workplace / "c.json").write_text('{"b": 1, "client": {"a": 1}}')
        result = run("checkconfig", "-c", "c.json")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "client.a" in result.stderr
        result = run("checkconfig", "-c", "c.json", "-s")
        assert result.exit_code == 1
        assert result.stdout == "error: unknown keys in config: b, client.a\n"

    @pytest.mark.parametrize(
        "problem",
        [
            {"proxies": [{"name": "pp"}]},
            {"http_server.tls": {"enabled": True, "cert_pem": "/x/a.pem"}},
        ],
    )
    def test_unknown_keys_beside_a_problem(self, run, workplace, problem):
        (workplace / "c.json").write_text(json.dumps({"b": 1, **problem}))
        result = run("checkconfig", "-c", "c.json")
        assert result.exit_code == 1
        assert "unknown key in configuration file: b" in result.stderr

    def test_environment_is_checked(self, run):
        result = run("checkconfig", env={"FLYBALL_SSE_ENABLED": "yes"})
        assert result.exit_code == 1
        assert "FLYBALL_SSE_ENABLED" in result.stdout

    def test_missing_file(self, run):
        assert run("checkconfig").exit_code == 0
        result = run("checkconfig", "-c", "none.json")
        assert (result.exit_code, result.stdout) == (1, "error: config file not found: none.json\n")

    def test_certificates_are_looked_at(self, run, workplace):
        (workplace / "c.json").write_text('{"http_server.tls.cert_pem": "/x/a.pem"}')
        assert "TLS is not switched on" in run("checkconfig", "-c", "c.json").stderr
        text = '{"http_server.tls": {"enabled": true, "cert_pem": "/x/a.pem", "key_pem": "k"}}'
        (workplace / "c.json").write_text(text)
        result = run("checkconfig", "-c", "c.json")
        assert result.exit_code == 1
        assert (
            "error: http_server.tls.cert_pem (FLYBALL_HTTP_SERVER_TLS_CERT_PEM): " in result.stdout
        )
        assert "expected PEM" in result.stdout
        assert "/x/a.pem: No such file" in result.stdout

    @pytest.mark.parametrize(
        ("tree", "key"),
        [
            ({"engine": {"type": "nothing"}}, "engine.type"),
            ({"client.token.rsa_public_key": "x"}, "client.token.rsa_public_key"),
            (
                {"client.subscription_token": {"enabled": True, "ecdsa_public_key": "x"}},
                "client.subscription_token.ecdsa_public_key",
            ),
            ({"client.token.jwks_public_endpoint": "x"}, "client.token.jwks_public_endpoint"),
            ({"log.file": "/nowhere/at/all"}, "log.file"),
            ({"pid_file": "."}, "pid_file"),
            ({"http_server.address": "no.such.host.invalid"}, "http_server.address"),
            ({"client.allowed_origins": ["https://[x"]}, "client.allowed_origins[0]"),
            ({"client.allowed_origins": ["example.com"]}, "client.allowed_origins[0]"),
            ({"client.allowed_origins": ["https://a.org/"]}, "client.allowed_origins[0]"),
            ({"http_api.key": "half \ud800 a pair"}, "http_api.key"),
            ({"client.token.hmac_secret_key": "\ud800"}, "client.token.hmac_secret_key"),
            ({"admin": True}, "admin"),
            (
                {"channel.without_namespace.channel_regex": "("},
                "channel.without_namespace.channel_regex",
            ),
            (
                {"channel.without_namespace.map.publish_proxy_enabled": True},
                "channel.without_namespace.map.publish_proxy_enabled",
            ),
        ],
    )
    def test_what_stops_a_start_is_an_error(self, run, workplace, tree, key):
        wrong = {**tree, "client.ping_interval": "1s"}
        (workplace / "c.json").write_text(json.dumps(wrong))
        result = run("checkconfig", "-c", "c.json")
        assert result.exit_code == 1
        assert f"error: {key}" in result.stdout
        assert "error: client.ping_interval" in result.stdout, "all of them are told"

    def test_what_only_building_finds_is_an_error_too(self, run, workplace, monkeypatch):
        (workplace / "c.json").write_text(
            json.dumps(
                {
                    "client.token.hmac_secret_key": "x",
                    "http_server.tls_autocert": {
                        "enabled": True,
                        "host_whitelist": ["example.com"],
                        "cache_dir": "c.json",
                    },
                }
            )
        )
        result = run("checkconfig", "-c", "c.json")
        assert result.exit_code == 1
        assert "http_server.tls_autocert.cache_dir" in result.stdout


class TestDefaultconfig:
    @pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.toml"])
    def test_reads_back_as_defaults(self, run, workplace, name):
        assert run("defaultconfig", "-c", name).exit_code == 0
        loaded = load_config(workplace / name, environ={})
        assert loaded.config == Config()
        assert loaded.notices == ()

    @pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.toml"])
    def test_base_is_merged(self, run, workplace, name):
        base = workplace / "base.json"
        base.write_text(json.dumps(RICH))
        assert run("defaultconfig", "-c", name, "-b", "base.json").exit_code == 0
        written = load_config(workplace / name, environ={}).config
        expected = load_config(base, environ={}).config
        # An object's keys become lower case in files, so the one map differs in that.
        assert written.channel == expected.channel
        assert written.admin == expected.admin
        assert written.client == expected.client
        assert written.proxies[0].http.static_headers == {"x-a": 'it\'s "quoted" $HOME\\'}

    def test_dry_run_prints(self, run, workplace):
        result = run("defaultconfig", "-d", "-c", "c.json")
        assert json.loads(result.stdout) == to_plain(Config())
        result = run("defaultconfig", "-d", "-c", "c.yaml")
        assert yaml.safe_load(result.stdout) == to_plain(Config())
        result = run("defaultconfig", "-d", "-c", "c.toml")
        assert tomllib.loads(result.stdout) == to_plain(Config())
        assert list(workplace.iterdir()) == []

    def test_refuses_to_overwrite(self, run, workplace):
        (workplace / "config.json").write_text("mine")
        assert run("defaultconfig").exit_code == 1
        assert (workplace / "config.json").read_text() == "mine"

    def test_missing_base(self, run):
        assert "none.json" in run("defaultconfig", "-b", "none.json").stdout


class TestDefaultenv:
    def test_all_options_sorted(self, run):
        result = run("defaultenv")
        names = [line.partition("=")[0] for line in result.stdout.splitlines()]
        assert names == sorted(names)
        expected = {row.env for row in rows() if row.env and "<NAME>" not in row.env}
        assert set(names) == {f"CENTRIFUGO_{name}" for name in expected}

    @pytest.mark.parametrize("changed_only", [False, True])
    def test_reads_back(self, workplace, changed_only):
        path = workplace / "base.json"
        path.write_text(json.dumps(RICH))
        config = load_config(path, environ={}).config
        variables = environment(config, changed_only=changed_only)
        loaded = load_config(None, environ=variables)
        assert loaded.config == config
        assert loaded.notices == ()

    def test_lines_are_a_dotenv_file(self, run, workplace):
        path = workplace / "base.json"
        path.write_text(json.dumps(RICH))
        result = run("defaultenv", "-b", "base.json", "--base-non-zero-only")
        (workplace / ".env").write_text(result.stdout)
        expected = load_config(path, environ={}).config
        assert read_dotenv(workplace / ".env", {}) == environment(expected, changed_only=True)

    def test_only_what_the_base_sets(self, run, workplace):
        (workplace / "base.json").write_text('{"http_server.port": 81, "sse.enabled": false}')
        result = run("defaultenv", "-b", "base.json", "--base-non-zero-only")
        assert result.stdout == "CENTRIFUGO_HTTP_SERVER_PORT=81\n"

    def test_prefix(self, run):
        assert "FLYBALL_HTTP_SERVER_PORT=8000" in run("defaultenv", "--prefix", "FLYBALL_").stdout
        assert run("defaultenv", "--prefix", "X_").exit_code == 1


class TestConfigdoc:
    def test_markdown_has_every_option(self, run):
        result = run("configdoc", "-m")
        for row in rows():
            assert (f"`{row.path}`" in result.stdout) is (not row.hidden), row.path

    def test_section(self, run):
        result = run("configdoc", "-m", "-s", "channel.namespaces", "-l", "3")
        headings = [line for line in result.stdout.splitlines() if line.startswith("#")]
        assert headings[0] == "### `channel.namespaces`"
        assert all("`channel.namespaces" in heading for heading in headings)
        assert "#### `channel.namespaces[].history_ttl`" in headings

    def test_unknown_section(self, run):
        result = run("configdoc", "-m", "-s", "clients")
        assert result.exit_code == 1
        assert "did you mean client?" in result.stdout

    def test_page(self):
        server = page_server("<p>page</p>", 0)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            with urllib.request.urlopen(f"{base}/?x=1") as answer:
                assert answer.read() == b"<p>page</p>"
                assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{base}/none")
            assert caught.value.code == 404
            caught.value.close()
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def test_port_in_use(self, run):
        with page_server("", 0) as server:
            result = run("configdoc", "-p", str(server.server_port))
        assert result.exit_code == 1
        assert "--port" in result.stdout


class TestServerFlags:
    def flags(self, *arguments):
        seen = {}
        app = typer.Typer()

        @app.callback(invoke_without_command=True)
        def server() -> None: ...

        @app.command()
        def other() -> None: ...

        group = typer.main.get_command(app)
        group.params.extend(server_flag_options(lambda _, path, text: seen.update({path: text})))
        group.main(args=spell_out(arguments), standalone_mode=False)
        return seen

    def test_one_for_each_row_with_a_flag(self):
        options = server_flag_options(lambda *_: None)
        long = {option.opts[0] for option in options}
        assert long == {row.flag for row in rows() if row.flag}
        assert len(long) == 35

    def test_only_given_flags_are_remembered(self):
        assert self.flags() == {}
        given = self.flags("-p", "81", "--http_server.address=::1", "--client.insecure", "other")
        expected = {"http_server.port": "81", "http_server.address": "::1"}
        assert given == {**expected, "client.insecure": "true"}

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("--sse.enabled", "true"),
            ("--sse.enabled=true", "true"),
            ("--sse.enabled=1", "true"),
            ("--sse.enabled=F", "false"),
            ("--no-sse.enabled", "false"),
        ],
    )
    def test_switches(self, text, value):
        assert self.flags(text) == {"sse.enabled": value}

    def test_other_arguments_are_left_alone(self):
        arguments = ["--sse.enabled=maybe", "--http_server.port=1", "version", "-c=true"]
        assert spell_out(arguments) == arguments
