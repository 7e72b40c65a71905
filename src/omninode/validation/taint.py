"""What a run may still do once a flagged item has entered it.

OmniNode's own agents call no tools. Who gives tools to agents asks here before each use, with the taint that
`TaskResult.tainted_by` carries.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Permission", "ToolUse", "may_use"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolUse:
    """What an agent wants to do: the tool, the host it would talk to, and whether it changes anything outside."""

    tool: str
    host: str | None = None
    writes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Whether it may, and if not, why and what to do."""

    is_granted: bool
    reason: str = ""


def may_use(
    use: ToolUse,
    *,
    tainted_by: Collection[str],
    known_hosts: Collection[str] = (),
    approved: Collection[str] = (),
) -> Permission:
    """Whether `use` is allowed: anything in a clean run; in a tainted one nothing that writes, and no new host.

    Args:
        use: what is asked for.
        tainted_by: the flagged items that had a part in the request; empty for a clean run.
        known_hosts: hosts that the configuration or the user named.
        approved: names of tools that a person has approved for this run.
    """
    if not tainted_by or use.tool in approved:
        return Permission(is_granted=True)
    told = f"{len(tainted_by)} flagged item{'s' if len(tainted_by) > 1 else ''} ({min(tainted_by)!r}) entered the run"
    if use.writes:
        return Permission(is_granted=False, reason=f"{use.tool!r} writes, and {told}; ask a person to approve it")
    if use.host is not None and use.host.lower() not in {host.lower() for host in known_hosts}:
        return Permission(
            is_granted=False,
            reason=f"{use.tool!r} would talk to {use.host!r}, which nobody named before {told}; allow the host or ask",
        )
    return Permission(is_granted=True)
