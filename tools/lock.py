"""Write the lock files: every dependency with its hashes, for all supported Pythons and platforms, no index address."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["--universal", "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--quiet"]
LOCKS = {"requirements.lock": [], "requirements-dev.lock": ["--extra", "dev"]}


def main() -> int:
    """Resolve afresh and write both files; 0 when it worked."""
    for name, extra in LOCKS.items():
        command = ["uv", "pip", "compile", "pyproject.toml", *extra, *FLAGS, "--upgrade", "--output-file", name]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            return 1
        text = (ROOT / name).read_text(encoding="utf-8")
        if "://" in text:
            print(f"{name} names an address: {text.splitlines()[0]}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
