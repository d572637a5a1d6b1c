"""A finished artefact is kept beside its state as well, by hard links, until somebody deletes the state.

The end of a training is not the end of its job: Slurm may call the job failed afterwards (a time limit, a node that
goes while the scheduler tidies up), or an orphan may finish while its successor waits in the queue. In each case
Snakemake deletes the output and runs the rule again. Then the artefact is put back, and nothing is trained twice.
"""

import os
import shutil
from pathlib import Path

NAME = "made"


def keep(out: Path, state: Path) -> bool:
    """Link the files of the artefact `out` into `state`. False, and nothing kept, where there are no hard links."""
    return _link(Path(out), Path(state) / NAME)


def put_back(state: Path, out: Path) -> bool:
    """Make `out` from what was kept; it appears whole. False where nothing was."""
    kept = Path(state) / NAME
    return kept.is_dir() and _link(kept, Path(out))


def _link(source: Path, target: Path) -> bool:
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(source, part, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(part, ignore_errors=True)
        return False
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    return True
