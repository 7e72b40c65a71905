"""Values put back for placeholders, in a whole text or in one that arrives in chunks.

Only the names a vault knows are replaced, and what was put back is not read again, so a value that looks like a
placeholder stays what it is.
"""

from __future__ import annotations

from omninode.validation.placeholders import LONGEST, mentions
from omninode.validation.vault import Vault

__all__ = ["StreamRestorer", "restore"]


def restore(text: str, vault: Vault) -> str:
    """`text` with each placeholder whose value `vault` has replaced by it, also where a model has mangled it."""
    parts, done = [], 0
    for mention in mentions(text):
        value = vault.value_of(mention.name)
        if value is not None:
            parts += [text[done : mention.start], value]
            done = mention.end
    return "".join([*parts, text[done:]]) if parts else text


class StreamRestorer:
    """Restores a text that arrives in chunks: what comes out, joined, is what `restore` makes of the whole.

    The last characters, as many as the longest placeholder has, are held back until it is clear that none is cut.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._held = ""
        # The character before `_held`: whether a name begins there depends on it.
        self._before = ""

    def feed(self, chunk: str) -> str:
        """What is certain by now."""
        self._held += chunk
        if len(self._held) <= LONGEST + 1:
            return ""
        return self._restored(len(self._held) - LONGEST - 1)

    def finish(self) -> str:
        """The rest; after that the restorer is as at the start."""
        rest = self._restored(len(self._held))
        self._held = self._before = ""
        return rest

    def _restored(self, until: int) -> str:
        """Let go of the text up to `until`, or up to the placeholder that `until` would cut."""
        text = self._before + self._held
        shift = len(self._before)
        cut, parts, done = until + shift, [], shift
        for mention in mentions(text):
            if mention.end > cut:
                cut = min(cut, max(mention.start, done))
                break
            value = self._vault.value_of(mention.name)
            if value is not None and mention.start >= done:
                parts += [text[done : mention.start], value]
                done = mention.end
        parts.append(text[done:cut])
        self._before, self._held = text[:cut][-1:], text[cut:]
        return "".join(parts)
