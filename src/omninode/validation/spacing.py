"""Words written one letter at a time ("i g n o r e"), with the gaps inside them closed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from omninode.validation.origin import Derived, Pieces
from omninode.validation.patterns import compiled

__all__ = ["SPACED", "closed"]

_PIECE = 128
# A gap alone between two letters is closed when others are as near as this: the two letters of a short word.
_NEAR = 8
_SPACE = 32
_SIGNS = np.array([chr(code) in " .-_*/|" for code in range(129)])
_WORDS = np.array([chr(code).isalnum() or chr(code) == "_" for code in range(128)] + [True])


def closed(source: Derived) -> Derived | None:
    """`source` with the gaps inside spaced words closed; None when it has no such words."""
    text = source.text
    is_spaced = compiled(_NARROW).search(text) is not None
    if not is_spaced and compiled(_WIDE).search(text) is None:
        return None
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    # Spaced twice, where one word ends and the next begins is lost.
    kept = np.flatnonzero(~_gaps(text) if is_spaced else codes != _SPACE)
    if kept.size == len(text):
        return None
    letters = codes[kept].tobytes().decode("utf-32-le", "surrogatepass")
    pieces = Pieces()
    # Stretches stand for themselves as a whole: one piece a letter would cost more than all the rest.
    starts, ends = kept[::_PIECE].tolist(), (kept[_PIECE - 1 :: _PIECE] + 1).tolist()
    for index, start in enumerate(starts):
        end = ends[index] if index < len(ends) else int(kept[-1]) + 1
        pieces.add(letters[index * _PIECE : (index + 1) * _PIECE], start=start, end=end)
    return pieces.derived(source)


def _gaps(text: str) -> npt.NDArray[np.bool_]:
    """Where a sign stands between two characters that each stand alone, in company of other such signs.

    Between spaces any character can stand alone, between other signs only a letter or digit.
    """
    codes = np.frombuffer(f"  {text}  ".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    small = np.minimum(codes, 128)
    gap = _between(_SIGNS[small], _alone(_WORDS[small], among=~_WORDS[small]))
    gap |= _between(codes == _SPACE, _alone(codes > _SPACE, among=codes <= _SPACE))
    again = np.zeros(codes.size, dtype=bool)
    again[2:] = gap[2:] & gap[:-2]
    again[:-2] |= again[2:]
    counted = np.cumsum(np.concatenate((np.zeros(_NEAR + 1, dtype=bool), again, np.zeros(_NEAR, dtype=bool))))
    return (gap & (counted[2 * _NEAR + 1 :] > counted[: -2 * _NEAR - 1]))[2:-2]


def _alone(is_one: npt.NDArray[np.bool_], *, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    alone = is_one.copy()
    alone[1:-1] &= among[:-2] & among[2:]
    return alone


def _between(is_sign: npt.NDArray[np.bool_], alone: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    gap = np.zeros(is_sign.size, dtype=bool)
    gap[1:-1] = is_sign[1:-1] & alone[:-2] & alone[2:]
    return gap


_NARROW = r"(?:\b\w[ .\-_*/|]){2,}\w\b|(?:^|\s)(?:\S ){6}"
_WIDE = r"^(?:\S {2,4}){8}"
SPACED = (_NARROW, _WIDE)
"""Patterns of which at least one is in every text with spaced words."""
