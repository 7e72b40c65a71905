"""Write the bill of materials, CycloneDX 1.6 as JSON: what `requirements.lock` brings, with hashes and licences.

The lock says what belongs to the product and which files it may be (by SHA-256); the installed metadata says what each
thing is called, under which licence it is, and what it needs. The same lock and the same metadata give the same bytes:
no time, no random number. `python tools/sbom.py > sbom.cdx.json`.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One line of the lock: a package in one version, with the files it may be; `marker` says where it is needed."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL, which is its reference in the bill too."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(text: str) -> list[Pin]:
    """The pins of a lock file, in its order; raises ValueError for a line that is none."""
    pins: list[Pin] = []
    for line in text.splitlines():
        if found := _HASH.search(line):
            last = pins[-1]
            pins[-1] = Pin(
                name=last.name, version=last.version, marker=last.marker, hashes=(*last.hashes, found.group(1))
            )
        elif line.strip() and not line.lstrip().startswith("#"):
            pin = _PIN.match(line.strip())
            if pin is None:
                raise ValueError(f"the lock has a line that is no pin: {line!r}")
            pins.append(Pin(name=normal(pin[1]), version=pin[2], marker=(pin[3] or "").strip(), hashes=()))
    return pins


def normal(name: str) -> str:
    """The name of a package as the index compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bill(pins: list[Pin]) -> dict[str, object]:
    """The bill of materials for `pins`, with omninode itself as its subject."""
    known: dict[str, list[Pin]] = {}
    for pin in pins:
        known.setdefault(pin.name, []).append(pin)
    own = metadata.metadata("omninode")
    subject = f"pkg:pypi/omninode@{own['Version']}"
    dependencies = [{"ref": subject, "dependsOn": _needs("omninode", known)}]
    dependencies += [{"ref": pin.purl, "dependsOn": _needs(pin.name, known)} for pin in pins]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": subject,
                "name": "omninode",
                "version": own["Version"],
                "purl": subject,
                "licenses": _licences("omninode"),
            }
        },
        "components": [_component(pin) for pin in sorted(pins, key=lambda pin: (pin.name, pin.version))],
        "dependencies": sorted(dependencies, key=lambda entry: str(entry["ref"])),
    }


def _component(pin: Pin) -> dict[str, object]:
    # One hash for each file that it may be installed from; which one depends on Python and platform.
    properties = [{"name": "omninode:sha256", "value": value} for value in sorted(pin.hashes)]
    if pin.marker:
        properties.insert(0, {"name": "omninode:marker", "value": pin.marker})
    return {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "purl": pin.purl,
        "scope": "required",
        "licenses": _licences(pin.name),
        "properties": properties,
    }


def _licences(name: str) -> list[dict[str, object]]:
    """What the package says of its licence: an SPDX expression, else a name; none for one that is not installed."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return []
    if expression := about.get("License-Expression"):
        return [{"expression": expression}]
    named = [
        entry.rpartition(" :: ")[2] for entry in about.get_all("Classifier") or [] if entry.startswith("License ::")
    ]
    text = (about.get("License") or "").strip()
    if not named and text and "\n" not in text:
        named = [text]
    return [{"license": {"name": entry}} for entry in sorted(set(named))]


def _needs(name: str, known: dict[str, list[Pin]]) -> list[str]:
    """References of what a package needs, extras left out; the lock has decided which of it counts."""
    try:
        wanted = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        wanted = []
    names = {normal(re.split(r"[\s;<>=!~\[(]", entry, maxsplit=1)[0]) for entry in wanted if "extra ==" not in entry}
    return sorted(pin.purl for entry in names for pin in known.get(entry, []))


def main() -> int:
    """Print the bill."""
    pins = read_lock((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    json.dump(bill(pins), sys.stdout, indent=1, sort_keys=True)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
