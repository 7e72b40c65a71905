"""See to it that the browser test finds a browser.

Installs Debian's chromium when it is missing and we are root. Otherwise it says why there is none and exits 0: the
test then skips with the same reason. With `CI` set a missing browser is a failure (exit 1).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """0 when a browser is there or may be missing, 1 when CI needs one and it cannot be had."""
    reason = "" if _found() else _install()
    if not reason:
        print(f"browser test: {_found()}")
        return 0
    print(f"browser test: no chromium ({reason}); the test will {'fail' if _is_required() else 'be skipped'}")
    return 1 if _is_required() else 0


def _found() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _is_required() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def _install() -> str:
    """Why there is still none; empty once it is installed."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "not root, so it cannot be installed; `apt-get install chromium` as root"
    if shutil.which("apt-get") is None:
        return "this system has no apt-get; install Chromium by hand"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", "chromium"]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            return f"{' '.join(command)} ended with {done.returncode}: {lines[-1] if lines else 'no message'}"
    return "" if _found() else "the package was installed and brought no chromium command"


if __name__ == "__main__":
    sys.exit(main())
