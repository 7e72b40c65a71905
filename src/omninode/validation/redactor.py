"""Secrets taken out of a text that arrives in chunks, so that none is let go in two halves."""

from __future__ import annotations

from omninode.core.errors import InvalidArgumentError
from omninode.validation.secrets import placeholder, redact, scan

__all__ = ["StreamRedactor"]

# A rule may look at a word in front of the secret; that word stays in sight after it was let go.
_CONTEXT = 256


class StreamRedactor:
    """Replaces secrets in a text that arrives in chunks, as `secrets.redact` does in a whole one.

    The last `look_ahead` characters are held back, and with them all of a secret that has begun, so a secret that is
    recognised within its first `look_ahead` characters, as all are that the rules know, is never cut.

    Args:
        look_ahead: how many characters are held back at least.
        max_held: how many at most; a secret longer than that is replaced, and what follows up to white space dropped.
    """

    def __init__(self, *, look_ahead: int = 1_024, max_held: int = 1_000_000) -> None:
        if not 64 <= look_ahead < max_held:
            raise InvalidArgumentError(
                f"look_ahead is {look_ahead} and max_held {max_held}; choose 64 or more, and more than that"
            )
        self._look_ahead = look_ahead
        self._max_held = max_held
        self._context = ""
        self._held = ""
        self._looked = 0
        self._is_dropping = False

    def feed(self, chunk: str) -> str:
        """What is certain by now."""
        if self._is_dropping:
            chunk = chunk[next((at for at, letter in enumerate(chunk) if letter.isspace()), len(chunk)) :]
            self._is_dropping = not chunk
        self._held += chunk
        # Looking costs a pass over what is held: only when there is as much more of it again.
        if len(self._held) < self._looked + self._look_ahead:
            return ""
        out = self._let_go(len(self._held) - self._look_ahead)
        self._looked = len(self._held)
        if len(self._held) > self._max_held:
            text = self._context + self._held
            is_open = any(secret.end == len(text) for secret in scan(text)[-1:])
            out += self.finish()
            self._is_dropping = is_open
        return out

    def finish(self) -> str:
        """The rest; after that the redactor is as at the start."""
        rest = self._let_go(len(self._held))
        self._context = self._held = ""
        self._looked = 0
        self._is_dropping = False
        return rest

    def _let_go(self, until: int) -> str:
        """The text up to `until`, or to the secret that `until` would cut, with the secrets in it replaced."""
        text, shift = self._context + self._held, len(self._context)
        cut, parts, done = until + shift, [], shift
        is_last = until == len(self._held)
        for secret in scan(text):
            if secret.end <= done:
                continue
            # One that touches the cut may go on behind it.
            if secret.end >= cut and not is_last:
                cut = min(cut, max(secret.start, done))
                break
            parts += [text[done : secret.start], placeholder(secret.kind)]
            done = secret.end
        parts.append(text[done:cut])
        self._context, self._held = text[max(0, cut - _CONTEXT) : cut], text[cut:]
        return redact("".join(parts), before=text[:shift])
