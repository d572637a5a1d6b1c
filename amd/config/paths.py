"""Where everything stands: the one path grammar. Relative to the repository's root, forward slashes.

Snakemake's rules and amd's verbs both ask here (as `plan.samples` and so on), so a path is spelt in one place. A part
may be a wildcard of Snakemake's.
"""

TABLE_FILES = ("md", "tex", "csv", "json")
FIGURE_FILES = ("png", "json", "md")
PUBLISHED = "results/published"  # what git keeps; no rule makes a file there


def checkpoint(scale: str, run: str, seed: int | str) -> str:
    """Folder of a finished student, teacher or classifier."""
    return f"checkpoints/{scale}/{run}/seed{seed}"


def state(scale: str, run: str, seed: int | str, digest: str) -> str:
    """Folder of a training that may still resume; keyed by what defines it, never a declared output."""
    return f"state/{scale}/{run}/seed{seed}-{digest}"


def results(scale: str, run: str, seed: int | str) -> str:
    """Folder of everything measured from one checkpoint."""
    return f"results/{scale}/{run}/seed{seed}"


def samples(scale: str, run: str, seed: int | str, benchmark: str) -> str:
    """Folder with samples.npz and manifest.json."""
    return f"{results(scale, run, seed)}/samples/{benchmark}"


def shard(scale: str, run: str, seed: int | str, benchmark: str, part: int | str, parts: int | str) -> str:
    """Folder with one of `parts` consecutive parts of the samples; part counts from 0."""
    return f"{results(scale, run, seed)}/shards/{benchmark}/{part}-of-{parts}"


def records(scale: str, run: str, seed: int | str, benchmark: str, judge: str) -> str:
    """Raw measurements per sample."""
    return f"{results(scale, run, seed)}/records/{benchmark}/{judge}.parquet"


def score(scale: str, run: str, seed: int | str, benchmark: str, judge: str) -> str:
    """Aggregated numbers of one checkpoint under one benchmark and judge."""
    return f"{results(scale, run, seed)}/scores/{benchmark}/{judge}.json"


def reference(scale: str, seed: int | str, benchmark: str, judge: str) -> str:
    """Folder with what all samples of a benchmark are compared with; seed: that of the judge's training."""
    return f"{results(scale, 'reference', seed)}/{benchmark}/{judge}"


def trace(scale: str, run: str, seed: int | str, benchmark: str) -> str:
    """Numbers at every milestone of a run."""
    return f"{results(scale, run, seed)}/trace/{benchmark}.json"


def grid(scale: str, run: str, seed: int | str) -> str:
    """Picture of a run's first samples."""
    return f"{results(scale, run, seed)}/grid.png"


def plane(scale: str, problem: str) -> str:
    """Folder with measurements.json and samples.npz of all systems and seeds of a 2-D problem."""
    return f"results/{scale}/plane/{problem}"


def record(scale: str, run: str, seed: int | str) -> str:
    """DVC's record of a published checkpoint: in git, beside the folder."""
    return f"{checkpoint(scale, run, seed)}.dvc"


def published(scale: str, run: str, seed: int | str) -> str:
    """Folder of the scores and the journal of a checkpoint that git keeps."""
    return f"{PUBLISHED}/{scale}/{run}/seed{seed}"


def table(scale: str, name: str, ext: str = "md") -> str:
    """A table; ext is one of TABLE_FILES."""
    return f"results/{scale}/tables/{name}.{ext}"


def figure(scale: str, name: str, ext: str = "png") -> str:
    """A figure; ext is one of FIGURE_FILES."""
    return f"results/{scale}/figures/{name}.{ext}"
