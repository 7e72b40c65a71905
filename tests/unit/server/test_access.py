"""Who is answered, and with which headers."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from omninode.core.errors import ConfigurationError
from omninode.core.events import Audited
from omninode.core.loopback import is_loopback
from omninode.server.access import Access, Guard, host_of
from omninode.testing.clock import FakeClock
from omninode.testing.sink import RecordingSink

pytestmark = pytest.mark.unit

KEY = "correct horse battery"


async def ask(
    access: Access,
    *,
    host: str = "127.0.0.1:8420",
    method: str = "GET",
    path: str = "/",
    query: str = "",
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request through the guard."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in {"host": host, **headers}.items()],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await Guard(PlainTextResponse("inside"), access=access)(scope, receive, send)
    start = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], start, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "localhost", "LOCALHOST:9", "[::1]:8420"])
async def test_loopback_names_are_answered(host: str) -> None:
    assert (await ask(Access(), host=host))[::2] == (200, b"inside")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "0.0.0.0", "[::2]"])
async def test_a_foreign_host_name_is_refused_as_rebinding(host: str) -> None:
    status, _, body = await ask(Access(), host=host)
    assert status == 421
    assert b"inside" not in body


async def test_only_reading_is_served() -> None:
    assert (await ask(Access(), method="POST"))[0] == 405


async def test_every_answer_carries_the_policy_even_a_refusal() -> None:
    for host in ("localhost", "evil.example"):
        _, headers, _ = await ask(Access(), host=host)
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


async def test_a_key_opens_by_header_cookie_or_once_by_query() -> None:
    access = Access(key=KEY)
    assert (await ask(access))[0] == 401
    assert (await ask(access, authorization="Bearer wrong"))[0] == 401
    assert (await ask(access, authorization=f"Bearer {KEY}"))[0] == 200
    status, headers, _ = await ask(access, path="/runs", query="range=7d&key=correct+horse+battery")
    assert (status, headers["location"]) == (303, "/runs?range=7d")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert KEY not in cookie
    assert (await ask(access, cookie=cookie.partition(";")[0]))[0] == 200


async def test_the_redirect_after_the_key_never_leaves_the_server() -> None:
    query = "key=correct+horse+battery"
    _, headers, _ = await ask(Access(key=KEY), path="//evil.example/x", query=query)
    assert headers["location"] == "/evil.example/x"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "example.org", "::"])
def test_another_address_than_loopback_needs_a_flag_and_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="allow"):
        Access(host=host)
    with pytest.raises(ConfigurationError, match="OMNINODE_SERVER_KEY"):
        Access(host=host, allow_remote=True)
    assert Access(host=host, allow_remote=True, key=KEY).key == KEY


def test_a_short_key_is_refused_and_no_key_is_shown() -> None:
    with pytest.raises(ConfigurationError, match="at least 16"):
        Access(key="short")
    assert KEY not in repr(Access(key=KEY))


def test_names_that_are_answered_never_hold_the_wildcard() -> None:
    access = Access(host="0.0.0.0", allow_remote=True, key=KEY, names=frozenset({"Node.Example"}))
    assert access.hosts == {"localhost", "127.0.0.1", "::1", "node.example"}


@pytest.mark.parametrize("name", ["http://node.example", "node.example:80", "", "a b", "[::2]", "*"])
def test_a_further_name_is_a_name_or_an_address(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no host name"):
        Access(names=frozenset({name}))
    assert Access(names=frozenset({"node.example", "10.0.0.5", "fe80::1"})).hosts >= {"fe80::1", "10.0.0.5"}


async def test_a_server_on_every_address_answers_for_the_names_given_and_for_no_others() -> None:
    access = Access(host="0.0.0.0", allow_remote=True, key=KEY, names=frozenset({"node.example", "fe80::1"}))
    for host, wanted in {"node.example:8420": 200, "[fe80::1]:8420": 200, "other.example": 421}.items():
        assert (await ask(access, host=host, authorization=f"Bearer {KEY}"))[0] == wanted
    assert not access.is_nameless
    assert Access(host="0.0.0.0", allow_remote=True, key=KEY).is_nameless


def test_hosts_are_told_apart() -> None:
    assert [host_of("[::1]:80"), host_of("A.b:1"), host_of("")] == ["::1", "a.b", ""]
    assert [is_loopback(host) for host in ("127.9.9.9", "::1", "localhost", "10.0.0.1", "x")] == [True] * 3 + [
        False
    ] * 2


async def test_use_of_the_key_is_told_once_an_hour_for_each_address_and_never_the_key() -> None:
    clock, sink = FakeClock(), RecordingSink()
    guard = Guard(PlainTextResponse("inside"), access=Access(key=KEY), sink=sink, clock=clock)

    async def use(address: str, **headers: str) -> None:
        fields = [(name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()]
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": fields}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(_: dict[str, Any]) -> None:
            pass

        await guard({**scope, "client": (address, 1)}, receive, send)

    good, bad = {"authorization": f"Bearer {KEY}"}, {"authorization": "Bearer " + "x" * 20}
    for _ in range(3):
        await use("10.0.0.1", **good)
        await use("10.0.0.2", **bad)
    await use("10.0.0.3")
    clock.advance(3601)
    await use("10.0.0.1", **good)
    assert [(event.action, event.actor) for event in sink.events if isinstance(event, Audited)] == [
        ("server.key_used", "10.0.0.1"),
        ("server.key_refused", "10.0.0.2"),
        ("server.key_used", "10.0.0.1"),
    ]
    assert KEY not in repr(sink.events)
