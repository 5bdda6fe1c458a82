"""The folder of a comparison: the files of both arms and every stage, judged.

`python -m bench pair` measures into it and asks; a folder that was kept can be asked again.
"""

from __future__ import annotations

from pathlib import Path

from . import instructions
from .comparison import Judgement
from .load import ResultFileError, load
from .pairs import paired
from .schema import ARMS, COUNTED, STAGES, stage_file
from .verdicts import judge, suspects


def suspected(folder: Path) -> tuple[str, ...]:
    """The cases that the screen suspects. Raises `ResultFileError`."""
    base, head = ([load(folder / stage_file(STAGES[0], arm))] for arm in ARMS)
    return suspects(paired(base, head))


def judged(folder: Path) -> Judgement:
    """Verdicts on a comparison by times, of the stages that were measured, or by instructions.

    Raises `ResultFileError`, and `TooFewPairsError` where a stage has too few pairs for its level.
    """
    counted = [folder / stage_file(COUNTED, arm) for arm in ARMS]
    if counted[0].exists():
        before, after = (load(path) for path in counted)
        return instructions.judge(before, after)
    stages = [stage for stage in STAGES if (folder / stage_file(stage, ARMS[0])).exists()]
    if not stages:
        raise ResultFileError(f"{folder} is no folder of a comparison: it holds no stage of one")
    base, head = ([load(folder / stage_file(stage, arm)) for stage in stages] for arm in ARMS)
    return judge(paired(base, head))
