"""UUIDs as text: passed on as they are when all are in the usual form, otherwise looked at one by one."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omninode.core.errors import BatchDataError
from omninode.storage.catalog import Column
from omninode.storage.values import prepared_column

pytestmark = pytest.mark.unit

COLUMN = Column(
    name="id",
    type="uuid",
    element_type=None,
    cast_type="uuid",
    shown_type="uuid",
    is_required=False,
    has_default=False,
    is_generated=False,
    max_length=None,
    labels=None,
)
WHOLE = "01890a5d-ac96-774b-bcce-b302099a8057"


@given(st.lists(st.none() | st.uuids().map(str)))
def test_usual_texts_are_left_to_the_driver(values: list[str | None]) -> None:
    assert prepared_column(values, COLUMN, table="t") is values


def test_other_forms_are_read() -> None:
    values = [WHOLE.upper(), "{" + WHOLE + "}", UUID(WHOLE), None]
    assert prepared_column(values, COLUMN, table="t") == [UUID(WHOLE)] * 3 + [None]


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ([WHOLE, WHOLE[:18], WHOLE[18:]], 1),
        ([WHOLE, WHOLE[:-1] + "g"], 1),
        ([WHOLE, "é" + WHOLE[1:]], 1),
        (["", WHOLE], 0),
        ([WHOLE, 5], 1),
        ([WHOLE[:-1], WHOLE + "0"], 0),
    ],
)
def test_what_is_no_uuid_is_named_by_its_row(values: list[object], row: int) -> None:
    with pytest.raises(BatchDataError) as caught:
        prepared_column(values, COLUMN, table="t")
    assert caught.value.row == row
