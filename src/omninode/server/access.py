"""Who may ask: the address, the Host header, the key, and the headers that keep a page to itself.

By default the server listens on loopback only and answers only to loopback names, so that a page of another site
whose name was made to point here (DNS rebinding) is refused. Anything else needs a flag and a key.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omninode.core.clock import Clock, SystemClock
from omninode.core.errors import ConfigurationError
from omninode.core.events import Audited, EventSink, NullSink
from omninode.core.loopback import is_loopback

__all__ = ["Access", "Guard", "host_of"]

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_COOKIE = "omninode_key"
_MIN_KEY = 16
_TELL_AGAIN_S = 3600.0
_MOST_ADDRESSES = 1024
# A name or an address, of either kind, as it stands in a Host header without its port.
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "base-uri 'none'",
        "object-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where the server listens and who is answered.

    `allow_remote` with a `key` of at least 16 characters is needed for any address that is not loopback. `names` are
    further host names that the server is reached by.
    """

    host: str = "127.0.0.1"
    allow_remote: bool = False
    key: str | None = field(default=None, repr=False)
    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.key is not None and len(self.key) < _MIN_KEY:
            raise ConfigurationError(f"the server's key has {len(self.key)} characters; use at least {_MIN_KEY}")
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"{name!r} is no host name; give a name or an address without scheme, port and brackets"
                )
        if is_loopback(self.host):
            return
        if not self.allow_remote:
            raise ConfigurationError(
                f"the server would listen on {self.host}, which others can reach; use 127.0.0.1, "
                "or allow it with --allow-remote and a key"
            )
        if self.key is None:
            raise ConfigurationError(f"listening on {self.host} needs a key; set OMNINODE_SERVER_KEY")

    @property
    def hosts(self) -> frozenset[str]:
        """The host names that are answered, in lower case."""
        own = {self.host.lower()} if not _is_wildcard(self.host) else set()
        return frozenset(_LOOPBACK_NAMES | own | {name.lower() for name in self.names})

    @property
    def is_nameless(self) -> bool:
        """Whether others can connect and none of them is answered, because no name of the server's is known."""
        return _is_wildcard(self.host) and not self.names


class Guard:
    """ASGI middleware: refuses foreign hosts, other methods and missing keys; adds the security headers."""

    def __init__(
        self, app: ASGIApp, *, access: Access, sink: EventSink | None = None, clock: Clock | None = None
    ) -> None:
        """`sink` is told who used the key, and who used a wrong one: once an hour for each address."""
        self._app = app
        self._access = access
        self._sink = sink or NullSink()
        self._clock = clock or SystemClock()
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if host_of(headers.get("host", "")) not in self._access.hosts:
            return PlainTextResponse("This server does not answer to that host name.\n", status_code=421)
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("Only GET is served here.\n", status_code=405, headers={"allow": "GET, HEAD"})
        return None if self._access.key is None else self._without_key(scope, headers, self._access.key)

    def _without_key(self, scope: Scope, headers: Headers, key: str) -> Response | None:
        token = hmac.new(key.encode(), b"omninode cookie", hashlib.sha256).hexdigest()
        bearer, cookie = headers.get("authorization", ""), cookie_parser(headers.get("cookie", "")).get(_COOKIE, "")
        if _equal(bearer, f"Bearer {key}") or _equal(cookie, token):
            self._tell("server.key_used", scope)
            return None
        pairs = parse_qsl(scope["query_string"].decode("latin-1"))
        given = [value for name, value in pairs if name == "key"]
        if any(_equal(value, key) for value in given):
            self._tell("server.key_used", scope)
            rest = urlencode([pair for pair in pairs if pair[0] != "key"])
            answer = RedirectResponse("/" + scope["path"].lstrip("/") + (f"?{rest}" if rest else ""), status_code=303)
            answer.set_cookie(_COOKIE, token, httponly=True, samesite="strict")
            return answer
        if bearer or cookie or given:
            self._tell("server.key_refused", scope)
        message = "A key is needed: send 'Authorization: Bearer KEY', or open the page once with ?key=KEY.\n"
        return PlainTextResponse(message, status_code=401, headers={"www-authenticate": "Bearer"})

    def _tell(self, action: str, scope: Scope) -> None:
        address = str((scope.get("client") or ("unknown",))[0])
        now, before = self._clock.monotonic(), self._told.get((action, address))
        if before is not None and now - before < _TELL_AGAIN_S:
            return
        self._told[action, address] = now
        self._told.move_to_end((action, address))
        while len(self._told) > _MOST_ADDRESSES:
            self._told.popitem(last=False)
        self._sink.emit(Audited(action=action, target=self._access.host, actor=address))


def host_of(header: str) -> str:
    """The name in a Host header, without port and brackets, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_wildcard(host: str) -> bool:
    return host in {"", "0.0.0.0", "::"}  # noqa: S104 - recognised, not listened on


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return wrapped
