"""Every input that fuzzing once broke something with, and a few of each kind that must stay right."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

_CASES = Path(__file__).parent / "fuzz_cases"
_SOURCE = Path(__file__).parents[3] / "tools" / "fuzz" / "properties.py"


def _properties():
    spec = importlib.util.spec_from_file_location("fuzz_properties", _SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROPERTIES


PROPERTIES = _properties()
CASES = sorted(path for path in _CASES.rglob("*") if path.is_file())


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_fuzzing_found_stays_mended(case: Path) -> None:
    PROPERTIES[case.parent.name](case.read_bytes())


def test_every_property_has_a_case() -> None:
    assert {case.parent.name for case in CASES} == set(PROPERTIES)


@pytest.mark.parametrize("name", sorted(PROPERTIES))
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe", b"{}", b"data: x\n\n", bytes(range(256)) * 4])
def test_plain_and_odd_bytes_keep_every_property(name: str, data: bytes) -> None:
    PROPERTIES[name](data)
