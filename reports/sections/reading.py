"""13. How to read the page: each term, one meaning each."""

from __future__ import annotations

from ..blocks import Section, Terms

TERMS = (
    (
        "operator",
        "Which derivative with respect to the input x: gradient, vjp (vᵀJ), jvp (Jv), jacobian,"
        " divergence (trace of J), hvp (Hv), hessian, hessian-diagonal, laplacian (trace of H),"
        " bilaplacian (the Laplacian of the Laplacian).",
    ),
    (
        "strategy",
        "One way to compute an operator. Its mode is the rule for one direction (reverse, forward,"
        " one over the other), its sweep how directions are enumerated (a loop, a batch, vmap).",
    ),
    (
        "execution",
        "How the strategy's code runs: eager as written, traced as a recorded and simplified graph"
        " of operations, compiled by inductor, or captured as a CUDA graph.",
    ),
    ("way", "A strategy and how it runs (execution, chunk): what competes within a problem."),
    ("workload", "A function f with an example batch x; its version is raised when it changes."),
    ("B, n, m", "Rows in the batch, inputs of a row, outputs of a row."),
    ("problem", "An operator of a workload at its sizes, on a device: what ways compete for."),
    ("case", "A way and a problem: one line of the result."),
    (
        "regime",
        "An operator, a shape of rows (scalar, tall, wide, square), a device and a purpose"
        " (evaluate, train).",
    ),
    (
        "pass",
        "One fresh process (or chain of them) that measures every case once, in a random order of"
        " its own: the unit of replication.",
    ),
    (
        "time",
        "The geometric mean over passes of each pass's shortest round: CPU time on one thread of a"
        " processor, else wall time. `± 4 %` is half the width of the 95 % t interval on the"
        " logarithm, with the drift between runs.",
    ),
    (
        "factor",
        "Time over the best time for the same problem, of all ways measured, shown or not. Compared"
        " pass by pass. `1.37×` always means 1.37 times as long, or as much.",
    ),
    (
        "tie",
        "The interval of the ratio to the best reaches one, or odd and even passes disagree on the"
        " winner. Nobody won.",
    ),
    (
        "winner",
        "The fastest on odd passes and on even ones, by a ratio whose interval stays above one. The"
        " least of many noisy numbers is too small, so a winner is picked on one half of the passes"
        " and judged on the other.",
    ),
    (
        "auto, regret",
        'What `strategy="auto"` takes, by its rule (`auto-rule`) or by measuring (`auto-race`):'
        " rows of their own, which compete with nobody. Regret is their time over that of the best"
        " strategy, which is picked on one half of the passes and judged on the other.",
    ),
    (
        "plain",
        "What one writes first: a loop of `torch.autograd.grad` (for gradient, vjp, jvp and hvp:"
        " its one or two calls).",
    ),
    (
        "prepare",
        "What is done once before values are known: checks of f, bases, tracing, compiling. Not"
        " part of the time.",
    ),
    (
        "pays back after",
        "So many calls until what an execution takes longer to prepare than eager is saved.",
    ),
    (
        "peak memory",
        "Bytes alive at once during a call above what lived before, result included: storages of"
        " tensors on the CPU, the allocator's on a GPU. Of a training case, of its whole step.",
    ),
    (
        "training step",
        "The derivative with its graph, the sum of its squares, and the gradient of that with"
        " respect to the parameters.",
    ),
    (
        "forward passes",
        "Cost in evaluations of f on the same batch: time over the time of f, or FLOPs over those"
        " of f.",
    ),
    (
        "best known method, η",
        "The least work known for the problem, where f declares its layers: its products, timed"
        " alone at their shapes, its bytes over the measured bandwidth, its launches at their"
        " measured cost. η is the largest of these over the time. Where no layers are declared, the"
        " least own limit of any eager way stands in for it.",
    ),
    (
        "own limit, own η",
        "The same of what the case itself was counted to do: FLOPs at the rate of a large product,"
        " bytes allocated, operations.",
    ),
    (
        "exponent",
        "The power with which time grows in a size, others equal: 1 is linear, 2 quadratic.",
    ),
    (
        "launch-bound",
        "More than half of the time is what the bare operations cost to launch: a larger size would"
        " cost nothing more.",
    ),
    (
        "performance profile",
        "The share of an operator's problems that a strategy solves within a factor of the best.",
    ),
    ("digits", "−log₁₀ of the relative error against the reference, over the whole result."),
    (
        "worst entry",
        "The largest error of one entry over the scale of the numbers behind it: the root mean"
        " square of its row and output. Ten times what is allowed for the whole.",
    ),
    (
        "reference's own error",
        "How far the reference itself may be off, measured against a second way that shares nothing"
        " with it, or from its extrapolation.",
    ),
    ("refused", "The strategy cannot answer this and said why: a result, not a fault."),
    (
        "slower, faster",
        "Of two commits measured in turn: suspected by a screen of all cases and confirmed by fresh"
        " passes. **same** is shown by an interval within 5 %, not assumed; **unclear** is none of"
        " these.",
    ),
    (
        "MDE",
        "Minimum detectable effect: the ratio that the comparison would have called slower four"
        " times out of five.",
    ),
    (
        "control",
        "A timing that contains no code of the suite (a matrix product, a copy, launches): what the"
        " machine did. Where controls moved between two sides, the comparison is contaminated.",
    ),
    ("step", "In the history of runs: a change by 5 % or more for good. A note, not a verdict."),
)


def section() -> Section:
    """The glossary."""
    return Section("how-to-read", "How to read", "How to read this page", (Terms(TERMS),))
