"""Interchangeable ways to differentiate a function with respect to its input.

The modules of strategies, in reading order, from the plainest to the most composed: `loops`,
`batched`, `functional`, `transforms`, `forward`, `curvature`, `diagonals`, `taylor` (its rules:
`jets`); `closed_form`, `folds` and `chain_products` are for chains of layers, `sparse` and
`partially_separable` are for results of which most is zero, `rows` for an f whose rows are not
apart; the bilaplacian is in `nested` and, for chains, in `fields`; `estimators` give the answer on
average. Which of them `strategy="auto"` takes is in `auto`, a rule, and in `race`, a measurement.
"""

# ruff: noqa: I001  (the reading order)
from . import loops as loops
from . import batched as batched
from . import functional as functional
from . import transforms as transforms
from . import forward as forward
from . import curvature as curvature
from . import diagonals as diagonals
from . import taylor as taylor
from . import closed_form as closed_form
from . import folds as folds
from . import chain_products as chain_products
from . import sparse as sparse
from . import partially_separable as partially_separable
from . import rows as rows
from . import nested as nested
from . import fields as fields
from . import estimators as estimators
from .executions import EXECUTIONS
from .functions import Independence, check_rows_independent, out_of_memory, row, single
from .library import (
    bilaplacian,
    divergence,
    gradient,
    hessian,
    hessian_diagonal,
    hvp,
    jacobian,
    jvp,
    laplacian,
    vjp,
)
from .operators import (
    DIRECTIONS,
    FOURTH_ORDER,
    SECOND_ORDER,
    Estimate,
    Operator,
    Orders,
    result_shape,
    violated_shape,
)
from .guard import PlanMismatch
from .choosing import choose, prepare
from .plan import Plan, Refusal, attempt
from .request import Setting, inspect
from .registry import (
    CONTRACT,
    STRATEGIES,
    DuplicateStrategy,
    Options,
    Strategy,
    StrategyFileError,
    TorchLimit,
    UnknownStrategy,
    Unsupported,
    find,
    load_installed,
    load_strategies,
    strategies_for,
    strategy,
    summed,
)

from .weighted import prepare_weighted_laplacian, weighted_laplacian

__all__ = [
    "CONTRACT",
    "DIRECTIONS",
    "EXECUTIONS",
    "FOURTH_ORDER",
    "SECOND_ORDER",
    "STRATEGIES",
    "DuplicateStrategy",
    "Estimate",
    "Independence",
    "Operator",
    "Options",
    "Orders",
    "Plan",
    "PlanMismatch",
    "Refusal",
    "Setting",
    "Strategy",
    "StrategyFileError",
    "TorchLimit",
    "UnknownStrategy",
    "Unsupported",
    "attempt",
    "bilaplacian",
    "check_rows_independent",
    "choose",
    "divergence",
    "find",
    "gradient",
    "hessian",
    "hessian_diagonal",
    "hvp",
    "inspect",
    "jacobian",
    "jvp",
    "laplacian",
    "load_installed",
    "load_strategies",
    "out_of_memory",
    "prepare",
    "prepare_weighted_laplacian",
    "result_shape",
    "row",
    "single",
    "strategies_for",
    "strategy",
    "summed",
    "violated_shape",
    "vjp",
    "weighted_laplacian",
]
