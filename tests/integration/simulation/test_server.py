"""The simulator over a real socket: the protocol, and every fault as it arrives on the wire."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from omninode.core.errors import ConfigurationError
from omninode.simulation import Faults, Latency, ModelProfile, SimulatedModels, run_forever

pytestmark = pytest.mark.integration

HELLO = [{"role": "user", "content": "What is a breaker? " * 20}]


@pytest.fixture
async def models() -> AsyncIterator[SimulatedModels]:
    async with SimulatedModels(latency_scale=0) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def body(model: str = "sim-swift", **fields) -> dict:
    return {"model": model, "messages": HELLO, "temperature": 0, **fields}


async def ask(http: aiohttp.ClientSession, models: SimulatedModels, model: str = "sim-swift", **fields):
    async with http.post(f"{models.base_url}/chat/completions", json=body(model, **fields)) as response:
        return response.status, await response.read()


async def test_a_completion_has_answer_usage_and_label(http, models):
    async with http.post(f"{models.base_url}/chat/completions", json=body()) as response:
        assert response.headers["x-omninode-simulated"] == "SIMULATED"
        data = await response.json()
    text = data["choices"][0]["message"]["content"]
    assert (data["object"], data["model"], data["system_fingerprint"]) == ("chat.completion", "sim-swift", "SIMULATED")
    assert (data["choices"][0]["finish_reason"], text.startswith("SIMULATED")) == ("stop", True)
    wanted = {"prompt_tokens": len(HELLO[0]["content"]) // 4, "completion_tokens": -(-len(text) // 4)}
    assert data["usage"] == {**wanted, "total_tokens": sum(wanted.values())}


async def test_a_stream_says_the_same_in_pieces_and_ends_with_usage_and_done(http, models):
    whole = json.loads((await ask(http, models))[1])
    options = {"stream": True, "stream_options": {"include_usage": True}}
    _, raw = await ask(http, models, **options)
    events = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line]
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert len(chunks) > 10
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1])
    assert "SIMULATED answer by sim-swift" in text
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert (chunks[-1]["choices"], chunks[-1]["usage"]) == ([], whole["usage"])
    assert b'"usage"' not in (await ask(http, models, stream=True))[1]


async def test_max_tokens_cuts_the_answer_and_says_so(http, models):
    data = json.loads((await ask(http, models, max_tokens=5))[1])
    assert (data["choices"][0]["finish_reason"], data["usage"]["completion_tokens"]) == ("length", 5)


async def test_models_and_health(http, models):
    async with http.get(f"{models.base_url}/models") as response:
        names = [entry["id"] for entry in (await response.json())["data"]]
    assert names == ["sim-swift", "sim-steady", "sim-scholar", "sim-careless", "sim-keen"]
    assert [entry["name"] for entry in models.deployments()] == names
    await ask(http, models)
    async with http.get(models.base_url.removesuffix("/v1") + "/health") as response:
        assert await response.json() == {"status": "ok", "label": "SIMULATED", "calls": {"sim-swift": 1}}


@pytest.mark.parametrize(
    ("sent", "status", "word"),
    [
        (b"{not json", 400, "not JSON"),
        (b'{"model": "sim-swift"}', 400, "messages"),
        (b'{"model": "gpt-9", "messages": [{"role": "user", "content": "x"}]}', 404, "gpt-9"),
        (b"[]", 400, "messages"),
    ],
)
async def test_a_wrong_request_is_refused_as_openai_refuses(http, models, sent, status, word):
    async with http.post(f"{models.base_url}/chat/completions", data=sent) as response:
        assert response.status == status
        assert word in (await response.json())["error"]["message"]


async def test_a_wrong_key_is_unauthorized(http):
    async with SimulatedModels(latency_scale=0, api_key="right") as models:
        for key, status in (("wrong", 401), ("right", 200)):
            headers = {"authorization": f"Bearer {key}"}
            async with http.post(f"{models.base_url}/chat/completions", json=body(), headers=headers) as response:
                assert response.status == status


@pytest.mark.fault
async def test_an_error_and_a_rate_limit_arrive_with_status_and_header(http, models):
    models.set_faults("sim-swift", Faults(error_status=503, retry_after_s=2.5))
    models.script_faults("sim-swift", "error", "throttle")
    assert (await ask(http, models))[0] == 503
    async with http.post(f"{models.base_url}/chat/completions", json=body()) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "2.5")
        assert (await response.json())["error"]["code"] == "rate_limit_exceeded"
    assert (await ask(http, models))[0] == 200


@pytest.mark.fault
async def test_an_answer_is_cut_off_in_the_middle(http, models):
    models.script_faults("sim-swift", "cut")
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(http, models)
    models.script_faults("sim-swift", "cut")
    received = bytearray()

    async def listen(response: aiohttp.ClientResponse) -> None:
        async for piece in response.content.iter_any():
            received.extend(piece)

    async with http.post(f"{models.base_url}/chat/completions", json=body(stream=True)) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await listen(response)
    assert received.count(b"data: ") >= 2
    assert b"[DONE]" not in received
    assert b'"finish_reason":"stop"' not in received


@pytest.mark.fault
async def test_malformed_json_arrives_complete_but_cannot_be_parsed(http, models):
    models.script_faults("sim-swift", "malformed", "malformed")
    status, raw = await ask(http, models)
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)
    _, raw = await ask(http, models, stream=True)
    events = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line]
    assert events[-1] == b"[DONE]"
    with pytest.raises(json.JSONDecodeError):
        [json.loads(event) for event in events[:-1]]


@pytest.mark.fault
async def test_prose_arrives_where_json_was_asked_for(http, models):
    models.script_faults("sim-swift", "prose")
    data = json.loads((await ask(http, models, response_format={"type": "json_object"}))[1])
    assert data["choices"][0]["message"]["content"].startswith("SIMULATED: certainly!")


@pytest.mark.fault
async def test_a_hanging_answer_hangs_alone_and_ends_when_the_simulator_closes(http):
    async with SimulatedModels(latency_scale=0) as models:
        models.script_faults("sim-swift", "hang")
        hanging = asyncio.create_task(ask(http, models))
        while models.statistics().fates.get("hang") != 1:
            await asyncio.sleep(0.005)
        assert (await ask(http, models))[0] == 200
        assert not hanging.done()
    assert (await hanging)[0] == 503


@pytest.mark.fault
async def test_a_client_that_leaves_ends_its_answer(http, models):
    before = asyncio.all_tasks()
    models.script_faults("sim-swift", "hang")
    with pytest.raises(TimeoutError):
        async with http.post(
            f"{models.base_url}/chat/completions", json=body(), timeout=aiohttp.ClientTimeout(total=0.05)
        ):
            pass
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.005)


@pytest.mark.fault
async def test_faults_are_scripted_over_http(http, models):
    url = models.base_url.removesuffix("/v1") + "/simulate/faults"

    async def tell(data: object) -> int:
        async with http.post(url, json=data) as response:
            return response.status

    assert await tell({"model": "sim-keen", "faults": {"error_rate": 1.0, "error_status": 502}}) == 200
    assert (await ask(http, models, "sim-keen"))[0] == 502
    assert await tell({"model": "sim-keen", "script": ["throttle"], "clear": True}) == 200
    assert [(await ask(http, models, "sim-keen"))[0] for _ in range(2)] == [429, 200]
    for wrong in ({"model": "x", "clear": True}, {"model": "sim-keen", "faults": {"luck": 1}}, [], {}, {"model": []}):
        assert await tell(wrong) == 400


async def test_two_simulators_of_one_seed_answer_alike(http):
    async def run(seed: int) -> list[bytes]:
        profiles = [ModelProfile(name="m", latency=Latency(median_s=0), faults=Faults(error_rate=0.5))]
        async with SimulatedModels(profiles, seed=seed) as models:
            return [(await ask(http, models, "m", seed=number))[0] for number in range(20)]

    assert await run(3) == await run(3) != await run(4)


async def test_latency_is_waited_for_and_slow_start_comes_on_top():
    """The waits go through the injected clock, so none is really slept."""
    waits: list[float] = []

    class Recorded:
        def monotonic(self) -> float:
            return 0.0

        def now(self):
            from omninode.core.clock import SystemClock

            return SystemClock().now()

        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)

    profile = ModelProfile(
        name="m", latency=Latency(median_s=2.0, sigma=0.0), faults=Faults(slow_start_s=5.0, slow_start_calls=1)
    )
    async with SimulatedModels([profile], clock=Recorded()) as models, aiohttp.ClientSession() as http:
        await ask(http, models, "m")
        await ask(http, models, "m")
        assert waits == pytest.approx([7.0, 2.0])
        waits.clear()
        await ask(http, models, "m", stream=True)
    assert len(waits) > 10
    assert waits[0] == pytest.approx(0.6)
    assert sum(waits) == pytest.approx(2.0)


async def test_a_taken_port_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            await SimulatedModels(port=port).start()
    assert caught.value.message == (
        f"the simulator cannot listen on 127.0.0.1:{port}: the port is taken; stop what uses it or pass --port 0"
    )
    with pytest.raises(ConfigurationError, match="from 0 to 65535"):
        await SimulatedModels(port=70_000).start()


async def test_it_is_a_quiet_guest_signals_stay_and_nothing_is_left_behind():
    before, handlers = asyncio.all_tasks(), [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    models = SimulatedModels(latency_scale=0)
    with pytest.raises(ConfigurationError, match="not running"):
        _ = models.base_url
    async with models:
        assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == handlers
        port = models.port
    await models.close()
    assert asyncio.all_tasks() == before
    with pytest.raises(OSError, match=str(port)):
        await asyncio.open_connection("127.0.0.1", port)


async def test_run_forever_serves_until_cancelled(http):
    ready: asyncio.Future[SimulatedModels] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(run_forever(0, latency_scale=0, on_ready=ready.set_result))
    models = await ready
    assert (await ask(http, models))[0] == 200
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(http, models)
