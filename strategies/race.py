"""The race behind `race=True`: candidates ranked by a cost model, the few best timed."""

from __future__ import annotations

from . import auto
from .request import Setting


def finalists(setting: Setting, count: int = 4) -> list[str]:
    """The strategies that the cost model puts first among those that do not refuse, best first."""
    return auto.candidates(setting.operator, setting.regime)[:count]
