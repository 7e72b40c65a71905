"""SQL is made of fixed text; what is put into it is looked at here, one expression after another.

Statements live in `queries/*.sql` and take their values as parameters. The few that need a name or a type in their text
are in the modules below. A new expression in one of them, or SQL put together anywhere else, fails here: quote the
identifier with `catalog.quoted`, pass the value as a parameter, and add the expression once that is so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import omninode
from omninode.storage.catalog import quoted

pytestmark = pytest.mark.unit

ROOT = Path(omninode.__file__).parent

_SQL = re.compile(
    r"\b(?:SELECT\s|INSERT\s+INTO|UPDATE\s+(?:\S+\s+){0,3}SET\b|DELETE\s+FROM|TRUNCATE\s|COPY\s|LOCK\s+TABLE|VACUUM\b"
    r"|(?:CREATE|DROP|ALTER|REINDEX)\s+(?:[A-Z]+\s+)*(?:TABLE|INDEX|DATABASE|SCHEMA|ROLE|EXTENSION|VIEW|TRIGGER|FUNCTION)"
    r"|ANALYZE\b|EXPLAIN\b|NOTIFY\s|LISTEN\s|SET\s+LOCAL|WITH\s+\w+\s+AS|SAVEPOINT|PREPARE\s|DEALLOCATE\s|EXECUTE\s)"
)

# By module: what is put into SQL there. Only identifiers from the catalogue, quoted (`quoted(...)`, `.quoted`); types as
# the server names them; constants of the module; numbers that were made as numbers.
ALLOWED: dict[str, set[str]] = {
    # Not SQL: a claim in words.
    "bench/scenarios/batch.py": {"many"},
    # The bench's own table and a file it has just made.
    "bench/writing.py": {"path", "self.table"},
    "storage/advisor.py": {"quoted(row['schema'])", "quoted(row['table'])"},
    "storage/batch.py": {
        *("_STAGE", "_names(plan.columns)", "', '.join(map(_staged, plan.columns))", "plan.table.quoted"),
        *("quoted(key.name)", "_names(key)", "casts", "table", "source", "same", "sent", "sets", "values"),
    },
    "storage/dump.py": {"quoted(between)", "quoted(current)", "quoted(made.database)", "quoted(other)"},
    "storage/embedded.py": {"quoted(config.database)"},
    # `schema.index`, each quoted by the caller.
    "storage/index_findings.py": {"name"},
    "storage/indexes.py": {
        *("change.listed", "change.place", "self.listed", "self.place", "whole"),
        *("quoted(change.name)", "quoted(change.schema)", "quoted(part.name)", "quoted(part.schema)"),
        *("quoted(self.name)", "quoted(self.schema)"),
    },
    "storage/partitions.py": {"quoted(child.name)", "quoted(table + '_default')"},
    # `text` is a statement of `queries/*.sql`; `values` is a list of NULLs.
    "storage/plans.py": {"_PREPARED", "text", "values"},
    "storage/retention.py": {"child", "quoted(child.name)", "quoted(child.parent)", "quoted(table)"},
    # The tables and columns of the rollups are constants of `rollup_tables`.
    "storage/rollup.py": {
        *("', '.join(rollup.keys)", "_on_conflict(rollup, measures)", "arrays", "cast", "columns", "grain", "joined"),
        *("keys", "merged", "rollup.name", "table"),
    },
    # Names and milliseconds of `PoolConfig.server_limits`.
    "storage/session.py": {"name", "ms"},
    "storage/upgrade.py": {"name"},
    "storage/what_if.py": {"_INDEX", "_listed(columns)", "name", "percent", "table.quoted"},
}


def interpolated(tree: ast.AST) -> Iterator[tuple[int, str, list[str]]]:
    """Line, fixed text and expressions of every string that is put together: f-string, %, +, format, join, replace."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            fixed = " ? ".join(part.value for part in node.values if isinstance(part, ast.Constant))
            parts = [ast.unparse(part.value) for part in node.values if isinstance(part, ast.FormattedValue)]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.Add):
            constants = [side.value for side in (node.left, node.right) if isinstance(side, ast.Constant)]
            fixed = " ? ".join(text for text in constants if isinstance(text, str))
            parts = [ast.unparse(side) for side in (node.left, node.right) if not isinstance(side, ast.Constant)]
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"format", "join", "replace"}
            and isinstance(node.func.value, ast.Constant)
        ):
            fixed, parts = str(node.func.value.value), [ast.unparse(argument) for argument in node.args]
        else:
            continue
        if parts:
            yield node.lineno, fixed, parts


def found(text: str) -> set[str]:
    return {part for _, fixed, parts in interpolated(ast.parse(text)) if _SQL.search(fixed) for part in parts}


def test_nothing_is_put_into_sql_that_was_not_looked_at() -> None:
    used = {}
    for path in ROOT.rglob("*.py"):
        parts = found(path.read_text(encoding="utf-8"))
        if parts:
            used[path.relative_to(ROOT).as_posix()] = parts
    assert used == ALLOWED


@pytest.mark.parametrize(
    "code",
    [
        "f\"SELECT * FROM t WHERE name = '{name}'\"",
        "\"SELECT * FROM t WHERE name = '%s'\" % name",
        '"DELETE FROM " + name',
        '"INSERT INTO t VALUES ({})".format(name)',
        'f"UPDATE t SET a = {name}"',
        'f"DROP TABLE IF EXISTS {name}"',
        '" UNION SELECT ".join(name)',
    ],
)
def test_each_way_to_put_a_value_into_sql_is_seen(code: str) -> None:
    assert found(code) == {"name"}


def test_the_names_that_are_put_in_cannot_end_their_quotes() -> None:
    assert quoted('a"; DROP TABLE runs; --') == '"a""; DROP TABLE runs; --"'
