"""Compile the package's ``.proto`` files into descriptor sets (``.binpb``) beside them.

The package loads the sets at run time into pools of its own, so that no generated code is
shipped and no other package's messages of the same name get in the way.

    python scripts/compile_protos.py            # write them
    python scripts/compile_protos.py --check    # only say which are out of date
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "flyball"
SOURCES = (
    PACKAGE / "protocol" / "client.proto",
    PACKAGE / "core" / "control.proto",
    PACKAGE / "server" / "api" / "api.proto",
    PACKAGE / "server" / "proxies" / "proxy.proto",
)
"""The schemas that the package reads at run time; the others are for its users' compilers."""


def compile_proto(source: Path) -> bytes:
    """The descriptor set of ``source`` and what it imports, without comments."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.binpb"
        includes = Path(protoc.__file__).parent / "_proto"
        code = protoc.main(
            [
                "protoc",
                f"-I{source.parent}",
                f"-I{includes}",
                "--include_imports",
                f"--descriptor_set_out={target}",
                str(source),
            ]
        )
        if code != 0:
            raise SystemExit(f"{source}: protoc failed, see above")
        return target.read_bytes()


def main() -> int:
    """Compile everything; the number of files that were out of date if only checking."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    stale = 0
    for source in SOURCES:
        target = source.with_suffix(".binpb")
        compiled = compile_proto(source)
        if target.exists() and target.read_bytes() == compiled:
            continue
        stale += 1
        if check:
            print(f"{target} is out of date: run scripts/compile_protos.py")
        else:
            target.write_bytes(compiled)
            print(f"{target} written")
    return stale if check else 0


if __name__ == "__main__":
    sys.exit(main())
