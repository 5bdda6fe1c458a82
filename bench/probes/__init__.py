"""Layers to see which strategies torch lets through them: `python -m bench coverage`."""

# ruff: noqa: I001  (the reading order)
from . import elementwise as elementwise
from . import networks as networks
from . import geometry as geometry
from . import programs as programs
from .registry import INPUTS, PROBES

__all__ = ["INPUTS", "PROBES"]
