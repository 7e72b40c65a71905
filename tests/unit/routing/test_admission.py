"""How many calls a deployment takes at once."""

from __future__ import annotations

import asyncio

import pytest

from omninode.core.errors import BulkheadFullError
from omninode.core.events import MetricRecorded
from omninode.routing.admission import Admission
from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit


async def test_a_full_deployment_has_no_room_refuses_and_says_so_once():
    clock, sink = FakeClock(), RecordingSink()
    admission = Admission("gpt", max_concurrency=1, max_queue=0, clock=clock, sink=sink)
    held = asyncio.Event()
    assert admission.has_room
    first = asyncio.ensure_future(admission.bulkhead.call(held.wait))
    await asyncio.sleep(0)
    assert not admission.has_room
    for _ in range(5):
        with pytest.raises(BulkheadFullError):
            await admission.bulkhead.acquire()
    held.set()
    await first
    assert admission.has_room
    assert admission.statistics().rejected == 5
    (told,) = sink.of(MetricRecorded)
    assert (told.metric, told.value, told.labels["policy"]) == ("rejected_count", 1.0, "gpt")
