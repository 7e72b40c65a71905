"""How the front end gets in: from npm by hash at build time, never by commit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
VENDOR = "src/omninode/server/static/vendor"


def test_the_lock_names_hashes_and_no_addresses() -> None:
    text = (ROOT / "web/package-lock.json").read_text(encoding="utf-8")
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert set(packages) == {"node_modules/uplot"}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert "resolved" not in text
    assert "://" not in text


def test_versions_are_exact() -> None:
    wanted = json.loads((ROOT / "web/package.json").read_text(encoding="utf-8"))["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())


def test_no_third_party_code_is_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "web/package-lock.json" in tracked
    assert [path for path in tracked if path.startswith((VENDOR, "web/node_modules"))] == []


def test_the_wheel_holds_omninode_only_with_all_it_serves(tmp_path: Path) -> None:
    environment = {**os.environ, "OMNINODE_SKIP_WEB": "1"}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"omninode"}
    for needed in ("server/templates/now.html", "server/static/app.css", "server/static/live.js", "py.typed"):
        assert f"omninode/{needed}" in names
    assert "omninode/storage/queries/server_now.sql" in names
    if (ROOT / VENDOR / "uplot.js").is_file():
        assert f"omninode/{VENDOR.removeprefix('src/omninode/')}/uplot.LICENSE.txt" in names


def test_our_own_files_need_no_exception_to_the_policy() -> None:
    server = ROOT / "src/omninode/server"
    for template in server.glob("templates/*.html"):
        text = template.read_text(encoding="utf-8")
        assert not re.search(r"\sstyle\s*=|\son[a-z]+\s*=|javascript:", text), template.name
        assert not re.search(r"<script(?![^>]*\bsrc=)", text), template.name
        assert "| safe" not in text, template.name
    for module in server.glob("static/*.js"):
        text = module.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|document\.write", text), (
            module.name
        )
        assert "://" not in text, module.name
