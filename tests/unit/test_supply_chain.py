"""What comes with the product: the bill of materials is complete, and nothing runs before it is imported."""

from __future__ import annotations

import importlib.util
import json
import site
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]

# Python runs these at its start, whoever is imported. Ours (an editable install), and those of the tools that make
# environments.
_KNOWN_PTH = {"_editable_impl_omninode.pth", "distutils-precedence.pth", "_virtualenv.pth"}
_AT_START = {"sitecustomize.py", "usercustomize.py"}


def _sbom():
    spec = importlib.util.spec_from_file_location("tool_sbom", ROOT / "tools" / "sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up.
    sys.modules["tool_sbom"] = module
    spec.loader.exec_module(module)
    return module


SBOM = _sbom()
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINS = SBOM.read_lock(LOCK)


def starters(folder: Path) -> set[str]:
    """What Python would run from `folder` at its start, beside what is known."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {name for name in names if (name.endswith(".pth") and name not in _KNOWN_PTH) or name in _AT_START}


def test_the_bill_names_every_pin_of_the_lock_with_all_its_hashes() -> None:
    components = {entry["purl"]: entry for entry in SBOM.bill(PINS)["components"]}
    pinned = {line.split(" ")[0] for line in LOCK.splitlines() if "==" in line and not line.startswith(" ")}
    assert {f"{entry['name']}=={entry['version']}" for entry in components.values()} == pinned
    told = [p["value"] for entry in components.values() for p in entry["properties"] if p["name"] == "omninode:sha256"]
    assert len(told) == LOCK.count("--hash=sha256:")
    assert all(f"--hash=sha256:{value}" in LOCK for value in told)


def test_the_bill_says_what_the_product_needs_directly() -> None:
    bill = SBOM.bill(PINS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = {SBOM.normal(entry.split(">")[0]) for entry in project["dependencies"]}
    own = next(entry for entry in bill["dependencies"] if entry["ref"].startswith("pkg:pypi/omninode@"))
    assert {reference.removeprefix("pkg:pypi/").split("@")[0] for reference in own["dependsOn"]} == direct
    known = {entry["bom-ref"] for entry in bill["components"]}
    assert {reference for entry in bill["dependencies"] for reference in entry["dependsOn"]} <= known


def test_every_installed_component_says_its_licence() -> None:
    installed = {SBOM.normal(found.metadata["Name"]) for found in metadata.distributions()}
    silent = [entry["name"] for entry in SBOM.bill(PINS)["components"] if not entry["licenses"]]
    assert [name for name in silent if name in installed] == []


def test_the_same_lock_gives_the_same_bytes() -> None:
    assert json.dumps(SBOM.bill(PINS)) == json.dumps(SBOM.bill(SBOM.read_lock(LOCK)))


@pytest.mark.parametrize("line", ["package>=1", "https://example.invalid/x.whl", "-e .", "package"])
def test_a_lock_with_anything_but_pins_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no pin"):
        SBOM.read_lock(line)


def test_no_dependency_brings_a_file_that_runs_at_the_start_of_python() -> None:
    names = {pin.name for pin in PINS}
    for found in metadata.distributions():
        if SBOM.normal(found.metadata["Name"]) in names:
            files = [file.name for file in found.files or ()]
            assert [name for name in files if name.endswith(".pth") or name in _AT_START] == [], found.metadata["Name"]


def test_nothing_else_runs_at_the_start_of_python() -> None:
    folders = [Path(folder) for folder in site.getsitepackages()]
    assert {str(folder): starters(folder) for folder in folders if starters(folder)} == {}


def test_a_file_that_would_run_is_seen(tmp_path: Path) -> None:
    (tmp_path / "litellm_init.pth").write_text("import os")
    (tmp_path / "usercustomize.py").write_text("")
    (tmp_path / "distutils-precedence.pth").write_text("")
    assert starters(tmp_path) == {"litellm_init.pth", "usercustomize.py"}
