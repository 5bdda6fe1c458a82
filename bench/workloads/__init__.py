"""The functions that are differentiated: seeds, closed forms, networks, physics, grids, ADBench."""

# ruff: noqa: I001  (the reading order)
from . import seed as seed
from . import analytic as analytic
from . import networks as networks
from . import vision as vision
from . import composed as composed
from . import physics as physics
from . import stencils as stencils
from . import hand as hand
from . import bundle as bundle
from . import mixture as mixture
from .registry import (
    WORKLOADS,
    DuplicateWorkload,
    UnknownWorkload,
    Workload,
    WorkloadError,
    find_workload,
    load_workload,
    workload,
)

__all__ = [
    "WORKLOADS",
    "DuplicateWorkload",
    "UnknownWorkload",
    "Workload",
    "WorkloadError",
    "find_workload",
    "load_workload",
    "workload",
]
