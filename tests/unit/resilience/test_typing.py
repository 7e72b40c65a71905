"""The public API type-checks as a caller uses it, and rejects what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.timeout(300)
def test_the_typed_api_holds_under_mypy_strict():
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "tests/typing/policy_api.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["Success: no issues found in 1 source file"], done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_typed_api_holds_under_pyright_strict():
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["0 errors, 0 warnings, 0 informations"], done.stdout + done.stderr
