"""Brings the browser build of centrifuge-js into the package, as published on npm.

Usage: ``python scripts/vendor_centrifuge.py 5.8.0``. Needs npm. The files stay as they were
published; SOURCE.txt says which archive they are from. Afterwards set ``CENTRIFUGE_JS`` in
src/flyball/server/http/demo.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "src/flyball/server/http/static"
FILES = {"package/dist/centrifuge.js": "centrifuge.js", "package/LICENSE": "LICENSE"}


def main(version: str) -> None:
    """Downloads, unpacks and describes one version."""
    target = STATIC / "vendor" / f"centrifuge-{version}"
    with tempfile.TemporaryDirectory() as name:
        command = ["npm", "pack", "--json", f"centrifuge@{version}"]
        packed = subprocess.run(command, cwd=name, check=True, capture_output=True, text=True)
        described = json.loads(packed.stdout)
        entry = described[0] if isinstance(described, list) else next(iter(described.values()))
        for old in (STATIC / "vendor").glob("centrifuge-*"):
            shutil.rmtree(old)
        target.mkdir(parents=True)
        with tarfile.open(Path(name) / entry["filename"]) as archive:
            for inside, outside in FILES.items():
                member = archive.extractfile(inside)
                if member is None:
                    sys.exit(f"{inside} is not in {entry['filename']}")
                (target / outside).write_bytes(member.read())
    digest = hashlib.sha256((target / "centrifuge.js").read_bytes()).hexdigest()
    (target / "SOURCE.txt").write_text(
        f"centrifuge {version} (centrifuge-js), MIT, (c) Centrifugal Labs LTD.\n"
        f"From the npm package of that name and version, unchanged: dist/centrifuge.js, LICENSE.\n"
        f"npm integrity: {entry['integrity']}\n"
        f"sha256 of centrifuge.js: {digest}\n"
    )
    print(f"centrifuge {version} is in {target}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: vendor_centrifuge.py VERSION")
    main(sys.argv[1])
