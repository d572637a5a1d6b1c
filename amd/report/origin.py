"""Which checkpoints behind a table were pulled and not trained here, with their hashes.

Said only of weights that are still there and are the very ones that were scored: anything else is not known here.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from amd.config import plan
from amd.config.load import Library, Run
from amd.config.published import pulled, read_meta, weights_of
from amd.report.cells import Line


@dataclass(frozen=True)
class Pulled:
    """A checkpoint that came from DVC's store."""

    run: str
    seed: int
    weights: str  # sha256
    digest: str  # of its configuration
    trained_by: str | None  # commit that trained it, where its meta.json says so

    def as_json(self) -> dict[str, object]:
        """For a table's JSON."""
        return asdict(self)


def pulled_for(library: Library, scale: str, lines: Iterable[Line], root: Path) -> list[Pulled]:
    """Students and teachers of the rows, then the classifiers that judged them, each once."""
    asked: list[tuple[Run, object]] = []
    scorers: list[tuple[Run, object]] = []
    for line in lines:
        for seed, score in line.scores.items():
            run = library.run(str(line.row.system), scale, seed)
            asked.append((run, score.get("student_sha256")))
            scorers += [(r, score.get(key)) for r, key in _scorers(run) if r is not None]
    found: dict[tuple[str, int], Pulled] = {}
    for run, scored in [*asked, *scorers]:
        folder = root / plan.folder(run)
        meta = read_meta(folder)
        if (run.name, run.seed) in found or meta is None or weights_of(meta) != scored or not pulled(folder):
            continue
        sha = meta.get("git_sha")
        found[run.name, run.seed] = Pulled(run.name, run.seed, str(scored), run.digest, str(sha) if sha else None)
    return list(found.values())


def _scorers(run: Run) -> list[tuple[Run | None, str]]:
    return [(run.judge, "judge_sha256"), (run.reward, "reward_sha256")]


def sentences(pulled: Iterable[Pulled]) -> list[str]:
    """A sentence per run, for a table's footer; none where everything was trained here."""
    by_run: dict[str, list[Pulled]] = {}
    for each in pulled:
        by_run.setdefault(each.run, []).append(each)
    return [
        f"Pulled, not trained here: {run} (digest {group[0].digest}): "
        + ", ".join(f"seed {each.seed} {each.weights[:12]}" for each in group)
        + "".join(
            f"; trained by commit {sha[:12]}{'+dirty' if sha.endswith('+dirty') else ''}"
            for sha in dict.fromkeys(each.trained_by for each in group)
            if sha
        )
        + "."
        for run, group in by_run.items()
    ]
