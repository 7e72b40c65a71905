"""The router against real servers on loopback."""

from __future__ import annotations

import asyncio
import json

import pytest

from omninode.core import current
from omninode.core.deadline import Deadline
from omninode.core.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    BreakerOpenError,
    ConfigurationError,
    DeadlineExceededError,
    MalformedAnswerError,
    ProviderUnavailableError,
    RequestRejectedError,
    ThrottledError,
)
from omninode.core.events import AttemptFinished, BreakerChanged, CallFinished, RetryScheduled
from omninode.core.ids import uuid7
from omninode.core.usage import Cost, Usage
from omninode.providers.messages import ChatRequest, Message
from omninode.resilience.circuit import CircuitBreakerConfig
from omninode.resilience.schedule import RetryConfig
from omninode.routing.cache.exact import ExactCache
from omninode.routing.deployment import DeploymentConfig, RouterSettings
from omninode.routing.router import Router
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.integration

KEY = "sk-test-0123456789"
ASK = ChatRequest(messages=(Message(role="user", content="hello"),))
QUICK = RetryConfig(max_retries=3, base_delay=0.001, max_delay=0.002)


def at(server, name: str = "a", **more) -> DeploymentConfig:
    """A deployment at `server`, an Upstream or an address."""
    url = server if isinstance(server, str) else server.url
    return DeploymentConfig(name=name, protocol="openai", base_url=url, model=f"m-{name}", api_key=KEY, **more)


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def router(http, sink):
    """A function that makes a router with quick retries."""

    def make(*deployments: DeploymentConfig, cache=None, retry=QUICK, breaker=None, **settings) -> Router:
        chosen = RouterSettings(retry=retry, breaker=breaker or CircuitBreakerConfig(), **settings)
        return Router(deployments, http=http, sink=sink, cache=cache, settings=chosen)

    return make


def standby(server, **more) -> DeploymentConfig:
    """The second choice, so that the first is always asked first."""
    return at(server, "b", weight=0, **more)


async def test_a_call_is_answered_and_told(http, upstream, answers, router, sink):
    server = await upstream(answers.chat("hi"))
    run_id = uuid7()
    with current.entered(run_id=run_id, phase="task_decomposition", task_id="t1"):
        done = await router(at(server)).complete(ASK, role="planner", agent_id="coder")
    assert (done.text, done.deployment, done.model, done.provider) == ("hi", "a", "m-a", "127.0.0.1")
    assert (done.attempts, done.cache, done.degraded, done.fell_back_from) == (1, "off", None, ())
    assert done.usage == Usage(input_tokens=10, output_tokens=5)
    assert done.cost == Cost.unpriced()
    (told,) = sink.of(CallFinished)
    assert (told.run_id, told.phase, told.task_id, told.agent_id) == (run_id, "task_decomposition", "t1", "coder")
    assert (told.role, told.ok, told.attempts, told.tokens_in, told.tokens_out) == ("planner", True, 1, 10, 5)
    assert told.cost_uusd is None
    assert told.duration_ms == done.duration_ms > 0


async def test_only_a_deployment_that_wants_it_is_told_the_time_that_is_left(upstream, answers, router):
    first, second = await upstream(answers.chat("hi")), await upstream(answers.chat("hi"))
    asking = router(at(first, "a"), at(second, "b", sends_deadline=True, timeout_s=7.0))
    for name in "ab":
        await asking.complete(ASK, role="worker", deployment=name)
    (plain,), (told,) = first.requests, second.requests
    assert "x-deadline-ms" not in plain.headers
    assert int(told.headers["x-deadline-ms"]) <= 7_000


async def test_a_500_is_retried_then_answered(upstream, answers, router, sink):
    server = await upstream(answers.respond(500), answers.respond(500), answers.chat("third"))
    done = await router(at(server)).complete(ASK, role="worker")
    assert (done.text, done.attempts, done.degraded) == ("third", 3, None)
    assert [event.status for event in sink.of(CallFinished)] == [None]
    assert len(sink.of(RetryScheduled)) == 2
    assert [event.outcome for event in sink.of(AttemptFinished)] == ["transient", "transient", "success"]


async def test_a_failing_deployment_falls_over_and_says_so(upstream, answers, router, sink):
    first, second = await upstream(answers.respond(500)), await upstream(answers.chat("second"))
    done = await router(at(first), standby(second)).complete(ASK, role="worker")
    assert (done.text, done.deployment, done.fell_back_from, done.attempts) == ("second", "b", ("a",), 5)
    assert done.degraded == "answered by b instead (a: ProviderUnavailable 500)"
    (told,) = sink.of(CallFinished)
    assert (told.deployment, told.degraded, told.attempts, told.ok) == ("b", done.degraded, 5, True)
    assert len(first.requests) == 4


async def test_a_refused_key_falls_over_at_once_and_says_so(upstream, answers, router):
    first, second = await upstream(answers.respond(401)), await upstream(answers.chat("second"))
    done = await router(at(first), standby(second)).complete(ASK, role="worker")
    assert done.degraded == "answered by b instead (a: refused our key (401))"
    assert len(first.requests) == 1


async def test_a_request_at_fault_is_neither_retried_nor_passed_on(upstream, answers, router, sink):
    first, second = await upstream(answers.respond(400)), await upstream(answers.chat("second"))
    with pytest.raises(RequestRejectedError):
        await router(at(first), standby(second)).complete(ASK, role="worker")
    assert (len(first.requests), len(second.requests)) == (1, 0)
    (told,) = sink.of(CallFinished)
    assert (told.ok, told.status, told.error_class, told.cost_uusd) == (False, 400, "RequestRejectedError", 0)


async def test_a_model_nobody_knows_there_falls_over(upstream, answers, router):
    first, second = await upstream(answers.respond(404)), await upstream(answers.chat("second"))
    done = await router(at(first), standby(second)).complete(ASK, role="worker")
    assert done.fell_back_from == ("a",)


async def test_when_all_fail_each_is_named(upstream, answers, router):
    body = json.dumps({"error": {"message": f"wrong {KEY}"}}).encode()
    first, second = await upstream(answers.respond(401, body)), await upstream(answers.respond(500, body))
    with pytest.raises(ProviderUnavailableError, match="none of the 2 deployments for role 'worker'") as caught:
        await router(at(first), standby(second)).complete(ASK, role="worker")
    message = str(caught.value)
    assert "[a] a: chat with model 'm-a': answered 401" in message
    assert "[b] b: chat with model 'm-b': answered 500" in message
    assert caught.value.retryable
    assert KEY not in message + repr(caught.value) + repr(caught.value.__cause__)


async def test_when_all_keys_are_refused_the_error_says_so(upstream, answers, router):
    first, second = await upstream(answers.respond(401)), await upstream(answers.respond(403))
    with pytest.raises(AuthenticationError) as caught:
        await router(at(first), standby(second)).complete(ASK, role="worker")
    assert not caught.value.retryable


async def test_retry_after_is_waited_for(upstream, answers, router, sink):
    server = await upstream(answers.respond(429, headers={"retry-after": "0.05"}), answers.chat("later"))
    done = await router(at(server)).complete(ASK, role="worker")
    assert (done.text, done.attempts) == ("later", 2)
    (scheduled,) = sink.of(RetryScheduled)
    assert scheduled.wait_s >= 0.05


async def test_a_long_retry_after_goes_to_another_deployment_instead(upstream, answers, router):
    first = await upstream(answers.respond(429, headers={"retry-after": "30"}))
    second = await upstream(answers.chat("second"))
    done = await router(at(first), standby(second)).complete(ASK, role="worker")
    assert done.degraded == "answered by b instead (a: Throttled 429)"
    assert len(first.requests) == 1


async def test_a_retry_after_beyond_the_deadline_fails_at_once_with_it(upstream, answers, router):
    server = await upstream(answers.respond(429, headers={"retry-after": "30"}))
    with current.entered(deadline=Deadline.after(5)), pytest.raises(ThrottledError) as caught:
        await router(at(server)).complete(ASK, role="worker")
    assert caught.value.retry_after_s == 30
    assert len(server.requests) == 1


@pytest.mark.fault
async def test_an_unknown_host_falls_over(upstream, answers, router):
    second = await upstream(answers.chat("second"))
    done = await router(at("http://nowhere.invalid/v1"), standby(second)).complete(ASK, role="worker")
    assert done.text == "second"


@pytest.mark.fault
async def test_an_unknown_host_alone_is_named(router):
    with pytest.raises(ProviderUnavailableError, match="a: chat with model 'm-a': unknown host"):
        await router(at("http://nowhere.invalid/v1")).complete(ASK, role="worker")


@pytest.mark.fault
async def test_a_hang_ends_with_the_attempt_timeout_and_falls_over(upstream, answers, router):
    first, second = await upstream(answers.hang), await upstream(answers.chat("second"))
    done = await router(at(first, timeout_s=0.5), standby(second)).complete(ASK, role="worker")
    assert done.degraded == "answered by b instead (a: AttemptTimeout)"
    assert len(first.requests) == 1


@pytest.mark.fault
async def test_a_hang_of_the_only_deployment_is_an_attempt_timeout(upstream, answers, router, http):
    server = await upstream(answers.hang)
    with pytest.raises(AttemptTimeoutError):
        await router(at(server, timeout_s=0.3), retry=RetryConfig(max_retries=0)).complete(ASK, role="worker")
    assert http.statistics().open_requests == 0


@pytest.mark.fault
async def test_a_hang_leaves_time_for_the_next_within_the_deadline(upstream, answers, router):
    first, second = await upstream(answers.hang), await upstream(answers.chat("second"))
    one = router(at(first), standby(second))
    await one.complete(ChatRequest(messages=ASK.messages, seed=1), role="worker", deployment="b")
    one._balancer._loads["a"] = one._balancer._loads["b"]  # a, too, is known to answer in milliseconds
    with current.entered(deadline=Deadline.after(0.4)):
        done = await one.complete(ASK, role="worker")
    assert (done.text, done.fell_back_from) == ("second", ("a",))


@pytest.mark.fault
async def test_the_deadline_ends_a_call(upstream, answers, router, sink):
    server = await upstream(answers.hang)
    with current.entered(deadline=Deadline.after(0.05)), pytest.raises(DeadlineExceededError):
        await router(at(server)).complete(ASK, role="worker")
    (told,) = sink.of(CallFinished)
    assert (told.error_class, told.cost_uusd) == ("DeadlineExceededError", None)


@pytest.mark.fault
async def test_a_cut_stream_is_fetched_again(upstream, answers, router):
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    half = b'data: {"choices": [{"delta": {"content": "half"}}]}\n\n'
    whole = b'data: {"choices": [{"delta": {"content": " whole"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    server = await upstream(answers.raw(head, half), answers.raw(head, half, whole))
    done = await router(at(server, is_streaming=True)).complete(ASK, role="worker")
    assert (done.text, done.attempts) == ("half whole", 2)
    assert done.answer.ttft_s > 0


async def test_an_open_breaker_is_skipped_without_a_request(upstream, answers, router, sink):
    first, second = await upstream(answers.respond(500)), await upstream(answers.chat("second"))
    one = router(at(first), standby(second), breaker=CircuitBreakerConfig(failure_threshold=2))
    await one.complete(ASK, role="worker")
    asked = len(first.requests)
    done = await one.complete(ASK, role="worker", use_cache=False)
    assert asked == len(first.requests) == 2
    assert done.degraded == "answered by b instead (a: breaker open)"
    assert [event.after for event in sink.of(BreakerChanged)] == ["open"]
    assert {entry.name: entry.breaker for entry in one.health()} == {"a": "open", "b": "closed"}


async def test_when_every_breaker_is_open_the_call_is_refused_at_once(upstream, answers, router):
    server = await upstream(answers.respond(500))
    one = router(at(server), breaker=CircuitBreakerConfig(failure_threshold=1))
    with pytest.raises(BreakerOpenError, match="answered 500"):
        await one.complete(ASK, role="worker")
    with pytest.raises(BreakerOpenError, match=r"not asked, its breaker is open .*, after: a: chat .*500") as caught:
        await one.complete(ASK, role="worker")
    assert 20 < caught.value.retry_after_s <= 30
    assert len(server.requests) == 1


async def test_a_short_break_is_waited_out(upstream, answers, router):
    server = await upstream(answers.chat("well"), answers.respond(500), answers.chat("back"))
    one = router(at(server), breaker=CircuitBreakerConfig(failure_threshold=1, timeout_seconds=0.05))
    done = [await one.complete(ASK, role="worker", use_cache=False) for _ in range(2)]
    assert [entry.text for entry in done] == ["well", "back"]


async def test_a_named_deployment_has_no_fallback(upstream, answers, router):
    first, second = await upstream(answers.respond(500)), await upstream(answers.chat("second"))
    with pytest.raises(ProviderUnavailableError):
        await router(at(first), at(second, "b")).complete(ASK, role="voter", deployment="a")
    assert second.requests == []


async def test_a_role_nobody_plays_is_a_configuration_error(router, sink):
    one = router(at("http://127.0.0.1:9/v1", roles=frozenset({"voter"})))
    with pytest.raises(ConfigurationError, match="'planner'; declared: a; add 'planner' to the roles"):
        await one.complete(ASK, role="planner")
    assert [entry.name for entry in one.deployments("voter")] == ["a"]
    assert one.deployments("planner") == ()


async def test_twenty_identical_calls_are_one_upstream(upstream, answers, router, sink):
    server = await upstream(answers.chat("one", delay_s=0.1))
    one = router(at(server), cache=ExactCache())
    done = await asyncio.gather(*(one.complete(ASK, role="worker") for _ in range(20)))
    assert len(server.requests) == 1
    assert {entry.text for entry in done} == {"one"}
    assert sorted(entry.cache for entry in done) == ["miss"] + ["shared"] * 19
    assert sum(event.tokens_in for event in sink.of(CallFinished)) == 10
    assert sum(event.cost_uusd or 0 for event in sink.of(CallFinished)) == 0


async def test_the_same_call_again_is_a_hit(upstream, answers, router, sink):
    server = await upstream(answers.chat("one"))
    one = router(at(server), cache=ExactCache())
    await one.complete(ASK, role="worker")
    again = await one.complete(ASK, role="worker")
    assert (again.cache, again.text, again.usage, again.cost, again.attempts) == ("hit", "one", Usage(), Cost(), 0)
    assert len(server.requests) == 1
    assert [event.cache for event in sink.of(CallFinished)] == ["miss", "hit"]
    assert one.statistics().cache.hits == 1


@pytest.mark.parametrize(
    ("request_", "use_cache"),
    [(ASK, False), (ChatRequest(messages=ASK.messages, temperature=0.7), True)],
    ids=["not wanted", "not repeatable"],
)
async def test_what_must_not_be_shared_is_not(upstream, answers, router, request_, use_cache):
    server = await upstream(answers.chat("one", delay_s=0.02))
    one = router(at(server), cache=ExactCache())
    done = await asyncio.gather(*(one.complete(request_, role="worker", use_cache=use_cache) for _ in range(3)))
    assert [entry.cache for entry in done] == ["off"] * 3
    assert len(server.requests) == 3


async def test_answers_are_weighed_by_their_text(upstream, answers, router):
    server = await upstream(answers.chat("x" * 2_000))
    one = router(at(server), cache=ExactCache(max_bytes=2_500, size_of=lambda done: done.size_bytes))
    assert [(await one.complete(ASK, role="worker")).cache for _ in range(2)] == ["miss", "miss"]
    assert one.statistics().cache.refused == 2


async def test_cut_and_degraded_answers_are_not_kept(upstream, answers, router):
    long = {"choices": [{"message": {"content": "cut"}, "finish_reason": "length"}]}
    server = await upstream(answers.chat(**long, text="x"))
    one = router(at(server), cache=ExactCache())
    assert [(await one.complete(ASK, role="worker")).cache for _ in range(2)] == ["miss", "miss"]
    first, second = await upstream(answers.respond(401)), await upstream(answers.chat("second"))
    two = router(at(first), standby(second), cache=ExactCache())
    assert [(await two.complete(ASK, role="worker")).cache for _ in range(2)] == ["miss", "miss"]


async def test_the_first_caller_may_leave_without_harm(upstream, answers, router, no_leaks):
    server = await upstream(answers.chat("one", delay_s=0.1))
    one = router(at(server))
    async with no_leaks():
        first = asyncio.ensure_future(one.complete(ASK, role="worker"))
        await asyncio.sleep(0.02)
        second = asyncio.ensure_future(one.complete(ASK, role="worker"))
        await asyncio.sleep(0.02)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).text == "one"
    assert len(server.requests) == 1


async def test_the_last_caller_to_leave_ends_the_request(upstream, answers, router, http, sink, no_leaks):
    server = await upstream(answers.hang)
    one = router(at(server, max_concurrency=1))
    async with no_leaks():
        callers = [asyncio.ensure_future(one.complete(ASK, role="worker")) for _ in range(3)]
        while not server.requests:
            await asyncio.sleep(0.005)
        for caller in callers:
            caller.cancel()
        ended = await asyncio.gather(*callers, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended)
        while not server.gone:
            await asyncio.sleep(0.005)
    assert http.statistics().open_requests == 0
    (health,) = one.health()
    assert (health.running, health.waiting, health.breaker) == (0, 0, "closed")
    assert [event.error_class for event in sink.of(CallFinished)] == ["CancelledError"] * 3


async def test_a_failed_flight_is_repeated_once_by_those_who_joined(upstream, answers, router):
    server = await upstream(answers.respond(500, delay_s=0.05), answers.chat("second", delay_s=0.05))
    one = router(at(server), retry=RetryConfig(max_retries=0))
    ended = await asyncio.gather(*(one.complete(ASK, role="worker") for _ in range(5)), return_exceptions=True)
    assert isinstance(ended[0], ProviderUnavailableError)
    assert [entry.text for entry in ended[1:]] == ["second"] * 4
    assert len(server.requests) == 2


async def test_no_more_than_the_cap_run_at_once(upstream, answers, router):
    server = await upstream(answers.chat("one", delay_s=0.02))
    one = router(at(server, max_concurrency=2))
    calls = [
        one.complete(ChatRequest(messages=(Message(role="user", content=str(n)),)), role="worker") for n in range(8)
    ]
    running: list[int] = []

    async def watch() -> None:
        while True:
            running.append(one.health()[0].running)
            await asyncio.sleep(0.002)

    watching = asyncio.ensure_future(watch())
    await asyncio.gather(*calls)
    watching.cancel()
    assert max(running) == 2
    assert len(server.requests) == 8


async def test_probe_says_whether_the_model_is_there(upstream, answers, router):
    server = await upstream(answers.respond(200, b'{"data": [{"id": "m-a"}]}'), answers.respond(401, b"{}"))
    one = router(at(server))
    good, bad = await one.probe("a"), await one.probe("a")
    assert (good.ok, good.models, good.has_model) == (True, ("m-a",), True)
    assert not bad.ok
    assert "answered 401" in bad.error
    with pytest.raises(ConfigurationError, match="no deployment is called 'x'"):
        await one.probe("x")


@pytest.mark.fault
async def test_a_probe_of_a_hanging_server_ends(upstream, answers, router):
    server = await upstream(answers.hang)
    probe = await router(at(server)).probe("a", timeout_s=0.05)
    # Whether the connection or the probe itself runs out of time first is a matter of load.
    assert not probe.ok
    assert probe.error.startswith("a")


async def test_closing_ends_what_is_under_way_and_closing_twice_is_harmless(upstream, answers, router, no_leaks):
    server = await upstream(answers.hang)
    one = router(at(server))
    async with no_leaks():
        caller = asyncio.ensure_future(one.complete(ASK, role="worker"))
        while not server.requests:
            await asyncio.sleep(0.005)
        await one.close()
        await one.close()
        with pytest.raises(Exception, match="being closed"):
            await caller


async def test_malformed_answers_are_retried_then_raised(upstream, answers, router):
    server = await upstream(answers.respond(200, b"<html>"))
    with pytest.raises(MalformedAnswerError):
        await router(at(server)).complete(ASK, role="worker")
    assert len(server.requests) == 4


def test_the_key_is_in_no_repr():
    config = at("http://127.0.0.1:9/v1")
    assert KEY not in repr(config) + str(config)


async def test_a_deployment_has_one_retry_manager_however_it_is_asked(upstream, answers, router):
    server = await upstream(answers.respond(500), answers.chat("ok"))
    one = router(at(server), standby(server))
    await one.complete(ASK, role="worker")
    await one.complete(ASK, role="worker", deployment="b", use_cache=False)
    assert {retry.name: retry.statistics().attempts for retry in one.retries} == {"a": 2, "b": 1}
