"""How well the lexical search ranks, on public collections that are fetched apart from this repository."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path

import pytest

from omninode.context.lexical import LexicalIndex, tokenize

pytestmark = pytest.mark.performance

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("OMNINODE_DATA_DIR") or ROOT.parent / "shared" / "data") / "retrieval"


def read(path: Path) -> list[dict]:
    if not path.is_file():
        pytest.skip(f"{path} is not there; set OMNINODE_DATA_DIR to the directory that holds retrieval/")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def judgements(path: Path) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for line in path.read_text().splitlines()[1:]:
        query, document, score = line.split("\t")
        found.setdefault(query, {})[document] = int(score)
    return found


def ndcg(ranked: list[str], relevant: dict[str, int], depth: int = 10) -> float:
    def gain(scores: list[int]) -> float:
        return sum((2**score - 1) / math.log2(place + 2) for place, score in enumerate(scores[:depth]))

    return gain([relevant.get(document, 0) for document in ranked]) / gain(sorted(relevant.values(), reverse=True))


def mean_ndcg(folder: str, corpus: str, qrels: str) -> float:
    documents = read(DATA / folder / corpus)
    memo: dict[str, tuple[str, ...]] = {}
    texts = [tokenize(f"{entry.get('title', '')} {entry['text']}", memo=memo) for entry in documents]
    index = LexicalIndex(texts)
    queries = {entry["id"]: entry["text"] for entry in read(DATA / folder / "queries.jsonl.gz")}
    scores = [
        ndcg([documents[hit.position]["id"] for hit in index.search(queries[query], limit=10)], relevant)
        for query, relevant in judgements(DATA / folder / qrels).items()
    ]
    return sum(scores) / len(scores)


def test_search_ranks_scientific_claims_as_well_as_published_bm25() -> None:
    assert mean_ndcg("scifact", "corpus.jsonl.gz", "qrels_test.tsv") >= 0.67


def test_search_ranks_code_by_what_people_ask() -> None:
    assert mean_ndcg("cosqa_dev", "corpus.jsonl.gz", "qrels.tsv") >= 0.36
