"""Failures of the other side as our errors: by HTTP status and by what happened to the connection.

The class and its attributes decide what the layers above do (retry, fall over, give up), so they come from statuses,
codes and exception types, never from the text of a message.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from omninode.core.errors import (
    AttemptTimeoutError,
    AuthenticationError,
    ConfigurationError,
    MalformedAnswerError,
    OmniNodeError,
    ProviderError,
    ProviderUnavailableError,
    RequestRejectedError,
    ThrottledError,
)
from omninode.validation.secrets import redact

if TYPE_CHECKING:
    import aiohttp

__all__ = ["from_status", "from_transport", "plain_url", "remote_detail", "retry_after_s", "scrubbed"]

_EXCERPT_CHARS = 300
# Codes a provider sends with 429 that waiting does not cure.
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "credit_balance_too_low"})


def from_status(
    status: int,
    *,
    subject: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    secrets: tuple[str, ...] = (),
    now: datetime | None = None,
) -> ProviderError:
    """The error for an answer with `status` that is not a success.

    `subject` begins the message and says who was asked for what; `secrets` are removed from what the other side
    wrote (some providers quote the key they refuse).
    """
    detail, code = remote_detail(body, secrets=secrets)
    said = f"{subject}: answered {status}" + (f" ({detail})" if detail else "")
    wait_s = retry_after_s(headers, now=now)
    if status in {401, 403}:
        return AuthenticationError(f"{said}; check its API key", status=status)
    if status == 429 and code in _SPENT:
        return ThrottledError(f"{said}; its quota is spent", status=status, retryable=False, retry_after_s=wait_s)
    if status in {429, 503, 529}:
        return ThrottledError(said, status=status, retry_after_s=wait_s)
    if status == 408:
        return AttemptTimeoutError(said, status=status, retry_after_s=wait_s)
    if status >= 500:
        return ProviderUnavailableError(said, status=status, retry_after_s=wait_s)
    if 300 <= status < 400:
        return RequestRejectedError(f"{said}: a redirect, which is not followed; correct the address", status=status)
    if status == 404:
        said = f"{said}; check its address and the name of the model"
    return RequestRejectedError(said, status=status)


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """The wait a Retry-After header asks for, in seconds; None when there is none that makes sense.

    Both forms of RFC 9110 section 10.2.3, and the `retry-after-ms` some providers send; a date in the past is 0.
    """
    exact = _number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": RFC 9110 dates are GMT whatever they say
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def remote_detail(body: bytes, *, secrets: tuple[str, ...] = ()) -> tuple[str, str | None]:
    """What the other side wrote about the failure: one short line, and its error code (or type) where it sent one.

    Without `secrets`, and without whatever else reads as a secret: some quote the request they refuse.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _one_line(body.decode("utf-8", "replace"), secrets), None
    failure = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if not isinstance(failure, dict):
        return _one_line(failure if isinstance(failure, str) else "", secrets), None
    code = failure.get("code") or failure.get("type")
    message = failure.get("message") or failure.get("detail") or ""
    code = code if isinstance(code, str) else None
    return _one_line(message if isinstance(message, str) else "", secrets), code


def _one_line(text: str, secrets: tuple[str, ...] = ()) -> str:
    # Before anything is cut off: half of a secret looks like none.
    text = redact(scrubbed(text, secrets))
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _EXCERPT_CHARS else line[: _EXCERPT_CHARS - 1] + "…"


def scrubbed(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without any of `secrets`."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[redacted]")
    return text


def plain_url(url: str) -> str:
    """`url` without user, password, query and fragment, fit to be shown."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    try:
        port = parts.port
    except ValueError:
        port = None
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"


def from_transport(error: BaseException, *, subject: str) -> OmniNodeError:
    """The error for a connection that failed with `error`, an exception of the HTTP client."""
    import aiohttp  # here because the import costs 0.3 s and only callers that already paid it get this far

    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError(f"{subject}: not a usable address; it begins with http:// or https://")
    if isinstance(error, aiohttp.ClientConnectorError):
        return _unconnected(error, subject)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ProviderUnavailableError(f"{subject}: no connection in time; is it running?")
    if isinstance(error, TimeoutError):
        return AttemptTimeoutError(f"{subject}: no answer in time")
    if isinstance(error, aiohttp.ClientPayloadError):
        return MalformedAnswerError(f"{subject}: the answer was cut off")
    if isinstance(error, aiohttp.ClientResponseError):
        return MalformedAnswerError(f"{subject}: the answer is not HTTP")
    return ProviderUnavailableError(f"{subject}: the connection was lost ({_reason(error)})")


def _unconnected(error: aiohttp.ClientConnectorError, subject: str) -> ProviderUnavailableError:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorDNSError):
        # EAI_AGAIN is the resolver's "later"; every other answer is "no such host".
        again = isinstance(error.os_error, socket.gaierror) and error.os_error.errno == socket.EAI_AGAIN
        return ProviderUnavailableError(f"{subject}: unknown host {error.host!r}; check the address", retryable=again)
    if isinstance(error, aiohttp.ClientSSLError):
        return ProviderUnavailableError(f"{subject}: no secure connection ({_reason(error)})", retryable=False)
    return ProviderUnavailableError(
        f"{subject}: cannot connect to {error.host}:{error.port} ({_reason(error.os_error)}); is it running?"
    )


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return _one_line(text)
