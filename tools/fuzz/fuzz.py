"""Search for bytes that break a property, led by which branches they reach: `python tools/fuzz/fuzz.py NAME`.

Needs atheris (Linux, Python 3.11 to 3.13), which is not in the lock because nothing else does. Arguments after NAME go
to libFuzzer: `-max_total_time=600`, a corpus directory. What breaks is written to a file `crash-…` and belongs, with
the fix, into `tests/unit/validation/fuzz_cases/NAME/`.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Fuzz one property until libFuzzer ends."""
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: pip install atheris", file=sys.stderr)
        return 3
    sys.path.insert(0, str(Path(__file__).parent))
    with atheris.instrument_imports(include=["omninode.validation", "omninode.providers.sse"]):
        from properties import PROPERTIES
    if len(sys.argv) < 2 or sys.argv[1] not in PROPERTIES:
        print(f"name one of {', '.join(PROPERTIES)}", file=sys.stderr)
        return 3
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, PROPERTIES[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
