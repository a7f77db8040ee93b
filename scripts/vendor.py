"""Brings browser builds of other projects into the package, as published on npm.

Usage: ``python scripts/vendor.py centrifuge 5.8.0``. Needs npm. The files stay as they were
published; SOURCE.txt says which archive they are from. Afterwards set the name of the folder in
the module that :data:`PACKAGES` names.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATIC = Path(__file__).resolve().parent.parent / "src/flyball/server/http/static"


@dataclass(frozen=True)
class Package:
    """What is taken of a package: the first file is the one that pages load."""

    notice: str
    files: tuple[str, ...]
    used_in: str


PACKAGES = {
    "centrifuge": Package(
        "centrifuge-js, MIT, by Centrifugal Labs LTD",
        ("dist/centrifuge.js", "LICENSE"),
        "src/flyball/server/http/demo.py",
    ),
    "swagger-ui-dist": Package(
        "Swagger UI, Apache-2.0, by SmartBear Software Inc.",
        (
            *("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"),
            *("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"),
        ),
        "src/flyball/server/api/swagger.py",
    ),
}


def packed(name: str, version: str, folder: str) -> dict[str, Any]:
    """Downloads an archive into ``folder``; what npm says of it."""
    command = ["npm", "pack", "--json", f"{name}@{version}"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    described = json.loads(done.stdout)
    found: dict[str, Any] = (
        described[0] if isinstance(described, list) else next(iter(described.values()))
    )
    return found


def main(name: str, version: str) -> None:
    """Downloads, unpacks and describes one version."""
    package = PACKAGES[name]
    target = STATIC / "vendor" / f"{name}-{version}"
    with tempfile.TemporaryDirectory() as folder:
        entry = packed(name, version, folder)
        for old in (STATIC / "vendor").glob(f"{name}-*"):
            shutil.rmtree(old)
        target.mkdir(parents=True)
        with tarfile.open(Path(folder) / entry["filename"]) as archive:
            for inside in package.files:
                member = archive.extractfile(f"package/{inside}")
                if member is None:
                    sys.exit(f"{inside} is not in {entry['filename']}")
                (target / Path(inside).name).write_bytes(member.read())
    main_file = Path(package.files[0]).name
    digest = hashlib.sha256((target / main_file).read_bytes()).hexdigest()
    (target / "SOURCE.txt").write_text(
        f"{name} {version} ({package.notice}).\n"
        f"From the npm package of that name and version, unchanged: {', '.join(package.files)}.\n"
        f"npm integrity: {entry['integrity']}\n"
        f"sha256 of {main_file}: {digest}\n"
    )
    print(f"{name} {version} is in {target}; set its folder in {package.used_in}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in PACKAGES:
        sys.exit(f"usage: vendor.py {'|'.join(PACKAGES)} VERSION")
    main(*sys.argv[1:])
