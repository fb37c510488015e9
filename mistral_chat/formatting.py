"""Formats sizes, progress and durations for display."""

from __future__ import annotations

from typing import Final

_GIGA: Final = 1e9
_MEGA: Final = 1e6


def format_size(amount: float) -> str:
    """Format bytes in decimal units: ``4.4 GB``, ``98.4 MB``."""
    if amount >= _GIGA * 100:
        return f"{amount / _GIGA:,.0f} GB"
    return f"{amount / _GIGA:.1f} GB" if amount >= _GIGA else f"{amount / _MEGA:.1f} MB"


def format_progress(done: int, total: int) -> str:
    """Format a part of a whole, in the unit of the whole: ``1.75 of 4.37 GB``."""
    unit, divisor, digits = ("GB", _GIGA, 2) if total >= _GIGA else ("MB", _MEGA, 1)
    return f"{done / divisor:.{digits}f} of {total / divisor:.{digits}f} {unit}"


def format_duration(seconds: float) -> str:
    """Format seconds in the two largest units: ``2 h 05 min``, ``3 min 20 s``, ``4 s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def counted(count: int, noun: str) -> str:
    """Format a count with its noun, such as ``1 turn`` or ``2,000 turns``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
