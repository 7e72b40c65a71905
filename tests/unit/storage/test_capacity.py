"""All pools against what the server allows."""

from __future__ import annotations

import pytest

from omninode.storage.capacity import Capacity, counted, pool_name

pytestmark = pytest.mark.unit


def test_each_pool_counts_once_however_many_connections_it_has() -> None:
    one, other = pool_name(10), pool_name(20)
    assert one != pool_name(10)
    found = counted([one, one, one, other, "omninode", "omninode", "psql"], max_connections=100, reserved=3)
    assert (found.pools, found.single, found.wanted) == ((10, 20), 2, 32)


def test_the_name_fits_into_what_a_server_keeps_of_it() -> None:
    assert len(pool_name(1000)) < 64  # Postgres cuts application_name to 63 bytes


@pytest.mark.parametrize(("pools", "missing"), [((40, 40), 0), ((40, 47), 0), ((40, 48), 1), ((50, 50, 50), 63)])
def test_missing_is_what_exceeds_the_server_less_its_reserve_and_ten(pools: tuple[int, ...], missing: int) -> None:
    capacity = Capacity(max_connections=100, reserved=3, pools=pools, single=0)
    assert capacity.missing == missing
    assert ("lower CONNECTION_POOL_SIZE" in capacity.told()) is (missing > 0)
