"""Statuses and headers as errors."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from omninode.core.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    ProviderUnavailableError,
    RequestRejectedError,
    ThrottledError,
)
from omninode.providers import errors

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Thu, 01 Jan 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "1"}, 1.0),
    ],
)
def test_retry_after_in_all_its_forms(headers, expected):
    assert errors.retry_after_s(headers, now=NOW) == expected


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (302, RequestRejectedError, False),
        (400, RequestRejectedError, False),
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (404, RequestRejectedError, False),
        (408, AttemptTimeoutError, True),
        (422, RequestRejectedError, False),
        (429, ThrottledError, True),
        (500, ProviderUnavailableError, True),
        (502, ProviderUnavailableError, True),
        (503, ThrottledError, True),
        (529, ThrottledError, True),
    ],
)
def test_a_status_decides_class_and_retryability(status, kind, retryable):
    error = errors.from_status(status, subject="x", headers={})
    assert (type(error), error.status, error.retryable) == (kind, status, retryable)
    assert error.message.startswith(f"x: answered {status}")


def test_a_spent_quota_is_not_worth_waiting_for():
    body = b'{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    error = errors.from_status(429, subject="x", headers={"retry-after": "1"}, body=body)
    assert (error.retryable, error.message) == (False, "x: answered 429 (You exceeded your quota); its quota is spent")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", ("", None)),
        (b'{"error": {"message": "no", "code": "c"}}', ("no", "c")),
        (b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}', ("busy", "overloaded_error")),
        (b'{"error": "plain"}', ("plain", None)),
        (b'{"detail": "not found"}', ("not found", None)),
        (b'{"error": {"message": 5, "code": 5}}', ("", None)),
        (b"[1]", ("", None)),
        (b"<html>\n<b>Bad\x00 gateway\x1b[31m</b>", ("<html> <b>Bad gateway [31m</b>", None)),
        (b"\xff\xfe", ("\ufffd\ufffd", None)),
    ],
)
def test_what_the_other_side_wrote_is_one_line_and_a_code(body, expected):
    assert errors.remote_detail(body) == expected


def test_a_long_detail_is_cut():
    detail, _ = errors.remote_detail(b"x" * 10_000)
    assert len(detail) == 300
    assert detail.endswith("…")


def test_secrets_are_taken_out_of_what_is_quoted():
    error = errors.from_status(401, subject="x", headers={}, body=b"key sk-123 is wrong", secrets=("sk-123",))
    assert "(key [redacted] is wrong)" in error.message


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host.example:8443/a/b?key=s#f", "https://host.example:8443/a/b"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("http://host:notaport/x", "http://host/x"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(url, shown):
    assert errors.plain_url(url) == shown
