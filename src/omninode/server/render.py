"""From a panel's values to text: templates, and how numbers are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["Renderer", "static_directory"]

_NONE: Final = "\N{EN DASH}"


def static_directory() -> str:
    """Where our own and the vendored files are served from."""
    return str(resources.files("omninode.server") / "static")


class Renderer:
    """The templates with their filters. Everything is escaped; a name that is not there is an error."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("omninode.server", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._hashes: dict[str, str] = {}
        self._environment.globals["asset"] = self.asset
        self._environment.globals["has_charts"] = (
            resources.files("omninode.server") / "static/vendor/uplot.js"
        ).is_file()
        self._environment.filters.update(
            ago=_ago,
            count=_count,
            duration=_duration,
            metric=_metric,
            percent=_percent,
            rate=_rate,
            usd=_usd,
            when=_when,
        )

    # Any: what the templates name.
    def page(self, template: str, **values: Any) -> str:
        """The page as HTML."""
        return self._environment.get_template(template).render(**values)

    def asset(self, name: str) -> str:
        """The URL of a static file, with its content's hash so that it may be cached for ever."""
        if name not in self._hashes:
            content = (resources.files("omninode.server") / "static" / name).read_bytes()
            self._hashes[name] = hashlib.sha256(content).hexdigest()[:12]
        return f"/static/{name}?v={self._hashes[name]}"


def _count(value: float | None) -> str:
    if value is None:
        return _NONE
    if abs(value) < 10_000:
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:,.0f}"


def _rate(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return _NONE if value is None else f"{value * 100:.{digits}f} %"


def _duration(value: float | None) -> str:
    """Milliseconds, as people say them."""
    if value is None:
        return _NONE
    if value < 10 and not float(value).is_integer():
        return f"{value:.1f} ms"
    if value < 1000:
        return f"{value:.0f} ms"
    if value < 60_000:
        return f"{value / 1000:.2f} s" if value < 10_000 else f"{value / 1000:.1f} s"
    minutes, seconds = divmod(round(value / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    return f"{minutes} min {seconds:02} s" if seconds else f"{minutes} min"


def _usd(micro: float | None) -> str:
    """Micro-dollars as dollars, with as many digits as still say something."""
    if micro is None:
        return _NONE
    dollars = micro / 1e6
    if dollars == 0:
        return "$0"
    if abs(dollars) >= 1:
        return f"${dollars:,.2f}"
    return f"${dollars:.4f}" if abs(dollars) >= 0.001 else f"${dollars:.6f}"


def _ago(moment: datetime | None, now: datetime) -> str:
    if moment is None:
        return "never"
    seconds = max(0, round((now - moment).total_seconds()))
    if seconds < 60:
        return f"{seconds} s ago"
    if seconds < 5400:
        return f"{round(seconds / 60)} min ago"
    if seconds < 129_600:
        return f"{round(seconds / 3600)} h ago"
    return f"{round(seconds / 86_400)} d ago"


def _when(moment: datetime | None, style: str = "%Y-%m-%d %H:%M:%S") -> str:
    return _NONE if moment is None else moment.strftime(style)


_UNITS: Final[Mapping[str, str]] = {"percent": " %", "ms": " ms"}


def _metric(value: float | None, name: str) -> str:
    """A measured value with the unit that ends its metric's name."""
    if value is None:
        return _NONE
    unit = name.rsplit("_", 1)[-1]
    if unit == "bytes":
        return f"{value / 1024**2:,.0f} MiB" if value < 1024**3 else f"{value / 1024**3:.2f} GiB"
    number = f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.1f}"
    return number + _UNITS.get(unit, "")
