"""The labelled texts training and measuring draw on: the data folder's, and our own made from templates.

The folder is not part of the project. Texts of one group say the same in nearly the same words; a group is never
split between training and measuring.
"""

from __future__ import annotations

import gzip
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from omninode.core.errors import InvalidArgumentError
from omninode.validation.features import NOTHING, grams, no_concepts
from omninode.validation.views import scored_text

__all__ = ["Sample", "groups", "importance", "made", "made_documents", "over_defence", "read", "written"]

_SLOTS_MOST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One labelled text; `kind` says what sort of text it is and `source` where it was taken from."""

    text: str
    is_attack: bool
    kind: str
    source: str

    @property
    def is_planted(self) -> bool:
        """Whether it is a document, clean or with instructions planted in it, and not a prompt."""
        return self.kind.startswith(("document_", "indirect_table", "indirect_code", "indirect_email"))


def read(folder: Path, name: str) -> list[Sample]:
    """The samples of `name` ("train" or "dev") in the data folder, in the order of the file."""
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        raise InvalidArgumentError(f"no labelled texts: {path} does not exist; name the data folder with --data")
    rows = [orjson.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    return [
        Sample(text=row["text"], is_attack=row["label"] == 1, kind=row["kind"], source=row["source"]) for row in rows
    ]


def made(name: str, *, seed: int) -> list[Sample]:
    """Our own samples from the templates of `sentences_<name>.toml`; the same for the same seed."""
    data = _sentences(name)
    random = Random(seed)  # noqa: S311 - draws sentences
    samples: dict[str, Sample] = {}
    for kind, family in data["families"].items():
        for template in family["lines"]:
            for _ in range(family["each"] if "{" in template else 1):
                text = _filled(template, data["slots"], random)
                samples.setdefault(
                    text, Sample(text=text, is_attack=name == "attack", kind=f"own_{kind}", source="own")
                )
    return list(samples.values())


def written() -> list[Sample]:
    """Our own samples as several people wrote them, each text once: `kind` is `<file>, <kind in the file>`.

    They are not in the wheel: without a checkout there are none.
    """
    folder = files(__package__).joinpath("written")
    names = sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
    samples: dict[str, Sample] = {}
    for name in names:
        label, _, subject = name.removesuffix(".jsonl").partition("_")
        for line in folder.joinpath(name).read_bytes().splitlines():
            row = orjson.loads(line)
            text = row["text"]
            kind = f"{subject}, {row['kind']}"
            samples.setdefault(text, Sample(text=text, is_attack=label == "attack", kind=kind, source="written"))
    return list(samples.values())


def over_defence() -> list[str]:
    """Ordinary requests full of words that attacks use; never trained on."""
    data = tomllib.loads(files(__package__).joinpath("over_defence.toml").read_text(encoding="utf-8"))
    found = list(data["lines"])
    for template in data["templates"]:
        text = template["text"]
        found += [
            text.replace("{" + name + "}", each)
            for name in data["slots"]
            for each in data["slots"][name]
            if "{" + name + "}" in text
        ]
    return found


def made_documents(count: int, *, seed: int) -> list[str]:
    """Our own clean documents: one to sixteen sentences of one family each."""
    data = _sentences("documents")
    random = Random(seed)  # noqa: S311 - draws sentences
    found = []
    for _ in range(count):
        family = random.choice(list(data["families"].values()))
        lines = [_filled(random.choice(family["lines"]), data["slots"], random) for _ in range(random.randint(1, 16))]
        found.append(family["glue"].join(lines))
    return found


def _sentences(name: str) -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(f"sentences_{name}.toml").read_text(encoding="utf-8"))


def _filled(template: str, slots: dict[str, list[str]], random: Random) -> str:
    for _ in range(_SLOTS_MOST):
        found = [(template.find("{" + name + "}"), name) for name in slots]
        start, name = min(((at, name) for at, name in found if at >= 0), default=(-1, ""))
        if start < 0:
            break
        template = template[:start] + random.choice(slots[name]) + template[start + len(name) + 2 :]
    return template


def groups(samples: Sequence[Sample]) -> list[int]:
    """The number of the group of each sample: those that share most of their runs of five characters."""
    parent = list(range(len(samples)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    runs = [_runs(sample.text) for sample in samples]
    met: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for index, mine in enumerate(runs):
        for key in _bands(mine):
            others = met[key]
            for other in others:
                if root(other) != root(index) and _shared(mine, runs[other]) >= _COPY:
                    parent[root(index)] = root(other)
            if len(others) < _REMEMBERED and root(index) not in map(root, others):
                others.append(index)
    return [root(index) for index in range(len(samples))]


# Eight bands of three: texts that share seven tenths of their runs fall together with a chance of 97 %, and of those that
# share three tenths one in five does; so what falls together is compared, or ever more texts would be chained.
_BANDS, _BAND = 8, 3
_MULTIPLIERS = np.random.default_rng(5).integers(1, 1 << 62, size=_BANDS * _BAND, dtype=np.uint64) * np.uint64(2) + 1
_COPY = 0.6
# Texts compared with a further one that falls together with them.
_REMEMBERED = 32


def _runs(text: str) -> npt.NDArray[np.uint64]:
    """The runs of five characters, each once, in order."""
    found = np.unique(grams(scored_text(text)[:1500], concepts=no_concepts()).characters[2])
    return found.compress(found != NOTHING).astype(np.uint64)


def _shared(one: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> float:
    """The share of the runs of either that are runs of both."""
    both = np.intersect1d(one, other, assume_unique=True).size
    return both / (one.size + other.size - both)


def _bands(runs: npt.NDArray[np.uint64]) -> Iterator[tuple[int, bytes]]:
    if runs.size:
        least = (runs[:, None] * _MULTIPLIERS >> np.uint64(32)).astype(np.uint32).min(axis=0)
        for band in range(_BANDS):
            yield band, least[band * _BAND : (band + 1) * _BAND].tobytes()


def importance(members: Sequence[int]) -> npt.NDArray[np.float64]:
    """The say of each sample: a group of many says more than one text, but far less than many texts."""
    sizes: dict[int, int] = defaultdict(int)
    for member in members:
        sizes[member] += 1
    return np.array([sizes[member] ** -0.5 for member in members])
