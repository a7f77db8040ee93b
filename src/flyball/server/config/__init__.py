"""Configuration: the schema, how it is loaded, and what is checked."""

from flyball.server.config.load import LoadedConfig, load_config
from flyball.server.config.marks import insecure_switches, secret_options, waiting_for_restart
from flyball.server.config.problems import ConfigProblems, Notice, Problem, problems_in
from flyball.server.config.schema import Config
from flyball.server.config.sources import read_dotenv
from flyball.server.config.table import to_plain
from flyball.server.config.unbuilt import unbuilt_options
from flyball.server.config.validate import check, validate
from flyball.server.config.validate_listeners import listener_notices, tcp_places

__all__ = [
    "Config",
    "ConfigProblems",
    "LoadedConfig",
    "Notice",
    "Problem",
    "check",
    "insecure_switches",
    "listener_notices",
    "load_config",
    "problems_in",
    "read_dotenv",
    "secret_options",
    "tcp_places",
    "to_plain",
    "unbuilt_options",
    "validate",
    "waiting_for_restart",
]
