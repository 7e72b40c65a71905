"""The chain of the audit log, without a database: what breaks it, and what a checkpoint adds."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import ConfigurationError, InvalidArgumentError
from omninode.storage.audit import NO_HASH, AuditRow, Chain, Checkpoint, Fault, row_hash

pytestmark = pytest.mark.unit

KEY = "a key of the auditor"


def chained(entries: list[str]) -> list[AuditRow]:
    rows, before = [], NO_HASH
    for seq, entry in enumerate(entries, 1):
        name = UUID(int=seq)
        before, previous = row_hash(before, seq=seq, id=name, entry=entry), before
        rows.append(AuditRow(seq=seq, id=name, entry=entry, prev_hash=previous, hash=before))
    return rows


def first_fault(rows: list[AuditRow], *points: Checkpoint) -> Fault | None:
    chain = Chain(points)
    for row in rows:
        if fault := chain.take(row):
            return fault
    return chain.end()


def point(row: AuditRow) -> Checkpoint:
    return Checkpoint(seq=row.seq, hash=row.hash, at="then")


logs = st.lists(st.text(), min_size=2, max_size=12).map(chained)


@given(logs)
def test_a_log_as_it_was_written_is_whole(rows: list[AuditRow]) -> None:
    assert first_fault(rows, *map(point, rows)) is None


@given(logs, st.data())
def test_any_field_that_is_edited_is_found_at_its_row(rows: list[AuditRow], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(["id", "entry", "prev_hash", "hash"]))
    other = UUID(int=10**6) if name == "id" else getattr(rows[index], name) + " "
    rows[index] = replace(rows[index], **{name: other})
    fault = first_fault(rows)
    assert fault is not None
    assert fault.seq == index + 1


@given(logs, st.data())
def test_a_row_that_is_edited_together_with_its_hash_is_found_at_the_next(
    rows: list[AuditRow], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(rows) - 2))
    row = replace(rows[index], entry=rows[index].entry + "!")
    rows[index] = replace(row, hash=row_hash(row.prev_hash, seq=row.seq, id=row.id, entry=row.entry))
    fault = first_fault(rows)
    assert fault is not None
    assert fault.seq == index + 2


@given(logs, st.text())
def test_a_second_row_of_the_last_number_is_found(rows: list[AuditRow], entry: str) -> None:
    last, name = rows[-1], UUID(int=99)
    own = row_hash(last.hash, seq=last.seq, id=name, entry=entry)
    fault = first_fault([*rows, AuditRow(seq=last.seq, id=name, entry=entry, prev_hash=last.hash, hash=own)])
    assert fault == Fault(seq=last.seq, message=f"row {last.seq} was put in: there is another of its number, or none")


@given(logs, st.data())
def test_a_row_that_is_removed_is_named(rows: list[AuditRow], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(rows) - 2))
    del rows[index]
    assert first_fault(rows) == Fault(seq=index + 1, message=f"row {index + 1} is missing")


@given(logs, st.data())
def test_two_rows_that_change_places_are_found(rows: list[AuditRow], data: st.DataObject) -> None:
    first, second = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=2, max_size=2)))
    moved = list(rows)
    moved[first], moved[second] = replace(rows[second], seq=first + 1), replace(rows[first], seq=second + 1)
    fault = first_fault(moved)
    assert fault is not None
    assert fault.seq == first + 1


@given(logs, st.text(), st.data())
def test_a_row_put_in_between_is_found_whatever_its_hash(rows: list[AuditRow], entry: str, data: st.DataObject) -> None:
    index = data.draw(st.integers(1, len(rows) - 1))
    before, name = rows[index - 1], UUID(int=99)
    own = row_hash(before.hash, seq=index + 1, id=name, entry=entry)
    forged = AuditRow(seq=index + 1, id=name, entry=entry, prev_hash=before.hash, hash=own)
    shifted = [replace(row, seq=row.seq + 1) for row in rows[index:]]
    fault = first_fault([*rows[:index], forged, *shifted])
    assert fault is not None
    assert fault.seq == index + 2


@given(logs, st.data())
def test_a_cut_end_and_a_log_made_anew_are_seen_by_a_checkpoint_only(rows: list[AuditRow], data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(rows) - 1))
    cut = rows[:kept]
    assert first_fault(cut) is None
    fault = first_fault(cut, point(rows[-1]))
    assert fault is not None
    assert fault.seq == kept + 1
    anew = chained([*(row.entry for row in rows[:kept]), rows[kept].entry + "!", *(r.entry for r in rows[kept + 1 :])])
    assert first_fault(anew) is None
    told = first_fault(anew, *map(point, rows))
    assert told is not None
    assert told.seq == kept + 1


def test_rows_before_the_first_are_found() -> None:
    rows = chained(["a", "b"])
    assert first_fault([replace(rows[0], seq=0), *rows]) is not None
    assert first_fault([rows[0], rows[0], rows[1]]) is not None


def test_a_sealed_checkpoint_is_read_again_with_its_key_and_with_no_other() -> None:
    made = point(chained(["a"])[0]).sealed(KEY)
    line = made.as_line()
    assert Checkpoint.read(line + "\n\n" + line, key=KEY) == [made, made]
    with pytest.raises(InvalidArgumentError, match="seal"):
        Checkpoint.read(line, key="another key of theirs")
    with pytest.raises(ConfigurationError, match="OMNINODE_AUDIT_KEY"):
        Checkpoint.read(line, key=None)


@pytest.mark.parametrize("key", [KEY, None])
def test_a_checkpoint_that_was_changed_is_refused(key: str | None) -> None:
    made = Checkpoint(seq=7, hash="ab" * 32, at="2026-11-22").sealed(key)
    for other in (replace(made, seq=6), replace(made, hash="cd" * 32), replace(made, at="2026-11-21")):
        with pytest.raises(InvalidArgumentError, match="it was changed"):
            Checkpoint.read(other.as_line(), key=key)


def test_with_a_key_a_checkpoint_without_one_does_not_count() -> None:
    plain = Checkpoint(seq=0, hash=NO_HASH, at="then").sealed(None).as_line()
    assert len(Checkpoint.read(plain, key=None)) == 1
    with pytest.raises(InvalidArgumentError, match="not sealed with the key"):
        Checkpoint.read(plain, key=KEY)


@pytest.mark.parametrize("text", ["", "\n", "{}", "[1]", "7", "not json", '{"seq": "x"}'])
def test_what_is_no_checkpoint_is_said(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="checkpoint"):
        Checkpoint.read(text, key=None)
