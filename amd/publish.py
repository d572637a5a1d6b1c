"""What git keeps of an experiment: results/published/ and dvc.yaml. Copies and lists; it makes no number.

The rest of results/ is ignored by git, and no rule makes a file under results/published/: a clone never takes a
committed result for a finished job. dvc.yaml is a function of what is tracked, written anew each time.
"""

import csv
import io
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from amd.config import plan
from amd.config.jobs import jobs
from amd.config.load import Library, Run
from amd.config.published import needed, pulled, read_meta, read_record, runs
from amd.storage import alone, track, write_text

DVC_YAML = Path("dvc.yaml")
ROWS = 200  # of a journal that git keeps; the whole one stays in state/
SHOWN = {  # plot -> column of the journals that it shows
    "student-loss": "student/loss",
    "fake-loss": "fake/loss",
    "gradient": "student/gradient",
    "reward": "student/reward",
    "pretraining": "loss",
}
HEAD = """\
# Snakemake decides what runs; DVC keeps bytes and compares numbers. So there are no stages here.
#   dvc metrics show, dvc metrics diff, dvc params diff, dvc plots show; dvc pull checkpoints/SCALE/RUN/seedN
# `amd publish` and `amd track` write this file from what is tracked: checkpoints/**/*.dvc and results/published/.
"""
PARAMS = ("scales", "domains", "systems", "benchmarks", "problems")


def listing(library: Library, scale: str, table: str | None = None) -> list[str]:
    """Checkpoint folders that suffice for a table, or for every table and figure: for `dvc pull`, one a line.

    Those that are not published in this commit are named on stderr.
    """
    if table is None:
        wanted = (plan.expand(library, ["*"], library.tables), plan.expand(library, ["*"], library.figures))
    else:
        wanted = ([plan.known_table(library, table).name], [])
    folders = needed(library, scale, *wanted)
    if absent := [folder for folder in folders if read_record(folder) is None]:
        named = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        print(f"{len(absent)} of these {len(folders)} are not published in this commit: {named}", file=sys.stderr)
    return folders


def publish(library: Library, scale: str) -> list[str]:
    """Track every finished checkpoint of a scale, copy its scores, journals and tables; returns what was left out.

    Left out, with the reason: what another configuration made. What has not been made yet is not mentioned.
    """
    tables, figures = plan.expand(library, ["*"], library.tables), plan.expand(library, ["*"], library.figures)
    left: list[str] = []
    for run in runs(library, scale, tables, figures):
        meta, record = read_meta(plan.folder(run)), read_record(plan.folder(run))
        if meta is None:
            continue
        if meta.get("digest") != run.digest:
            left.append(f"{plan.folder(run)}: of config digest {meta.get('digest')}, config/ means {run.digest}")
        elif not pulled(plan.folder(run)) and (record is None or record.meta.get("created") != meta.get("created")):
            track(run)
    with alone():
        for run in _measured(library, scale, tables, figures):
            left += _run(library, run)
        for name in tables:
            left += _table(library, scale, name)
        write_text(DVC_YAML, dvc_yaml())
    return left


def _measured(library: Library, scale: str, tables: list[str], figures: list[str]) -> list[Run]:
    """Every run with a checkpoint or a score, each once."""
    found = [job.run for job in jobs(library, scale, tables, figures) if job.run is not None]
    return list({(run.name, run.seed): run for run in found}.values())


def _run(library: Library, run: Run) -> list[str]:
    """A run's score files, their numbers alone for `dvc metrics`, and its journal for `dvc plots`."""
    left: list[str] = []
    out = Path(plan.published(run.scale.name, run.name, run.seed))
    numbers: dict[str, Any] = {}
    for name, benchmark in library.benchmarks.items():
        if benchmark.track != run.system.track or run.system.kind == "classifier":
            continue
        file = Path(plan.score(run.scale.name, run.name, run.seed, name, run.domain.judge.name))
        if not file.is_file():
            continue
        score = json.loads(file.read_text())
        if score["run_digest"] != run.digest:
            left.append(f"{file}: of config digest {score['run_digest']}, config/ means {run.digest}")
            continue
        write_text(out / "scores" / name / file.name, json.dumps(score, indent=1, sort_keys=True) + "\n")
        numbers[name] = {**score["metrics"], "n": score["n"]}
    if numbers:
        write_text(out / "metrics.json", json.dumps(numbers, indent=1) + "\n")
    journal = Path(plan.state(run.scale.name, run.name, run.seed, run.digest)) / "journal.jsonl"
    if read_meta(plan.folder(run)) is not None and (text := as_csv(read_journal(journal))):
        write_text(out / "journal.csv", text)
    return left


def _table(library: Library, scale: str, name: str) -> list[str]:
    """A table's files, if every row is of the configuration of now."""
    file = Path(plan.table(scale, name, "json"))
    if not file.is_file():
        return []
    for row in json.loads(file.read_text())["rows"]:
        system, digest = row.get("system"), row.get("digest")
        if system and digest and digest != library.run(system, scale, (row["seeds_wanted"] or [0])[0]).digest:
            return [f"{file}: row '{row['title']}' is of config digest {digest}; `snakemake {plan.table(scale, name)}`"]
    for ext in plan.TABLE_FILES:
        text = Path(plan.table(scale, name, ext)).read_text(encoding="utf-8")
        write_text(Path(plan.PUBLISHED, scale, "tables", f"{name}.{ext}"), text)
    return []


# --- journals --------------------------------------------------------------------------------------------------------


def read_journal(file: Path) -> list[dict[str, Any]]:
    """Whole lines of a journal, oldest first; an absent file has none."""
    if not file.is_file():
        return []
    lines: list[dict[str, Any]] = []
    for raw in file.read_text().splitlines():
        try:
            lines.append(json.loads(raw))
        except ValueError:  # torn by a kill
            continue
    return lines


def as_csv(lines: list[dict[str, Any]]) -> str:
    """At most ROWS lines, evenly spaced and the last one included; columns are every number that a line has."""
    if not lines:
        return ""
    stride = math.ceil(len(lines) / ROWS)
    kept = lines[::-1][::stride][::-1]
    columns = ["step", *sorted({key for line in kept for key, value in line.items() if _number(value)} - {"step"})]
    sink = io.StringIO()
    writer = csv.DictWriter(sink, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: value for key, value in line.items() if _number(value)} for line in kept)
    return sink.getvalue()


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# --- dvc.yaml --------------------------------------------------------------------------------------------------------


def dvc_yaml(root: Path = Path()) -> str:
    """The text of dvc.yaml for what stands under `root`."""
    content: dict[str, Any] = {"params": ["config/config.yaml", *(f"config/{folder}" for folder in PARAMS)]}
    if artifacts := dict(_artifacts(root)):
        content["artifacts"] = artifacts
    published = root / plan.PUBLISHED
    if metrics := _paths(root, published.glob("*/*/seed*/metrics.json")):
        content["metrics"] = metrics
    if plots := _plots(root, _paths(root, published.glob("*/*/seed*/journal.csv"))):
        content["plots"] = plots
    return HEAD + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)


def _artifacts(root: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """Every published student, teacher and classifier: what it is, in words and labels."""
    for file in sorted((root / "checkpoints").glob("*/*/seed*.dvc")):
        record = read_record(file.with_suffix(""))
        assert record is not None
        meta, path = record.meta, file.with_suffix("").relative_to(root).as_posix()
        scale, run, seed = path.split("/")[1:]
        said = [str(meta.get("title") or run), seed.replace("seed", "seed "), f"config digest {record.digest}"]
        said.append(f"weights sha256 {record.weights}")
        labels = [str(meta[key]) for key in ("scale", "kind", "method", "domain") if meta.get(key)]
        yield f"{scale}-{run}-{seed}", {"path": path, "type": "model", "desc": "; ".join(said), "labels": labels}


def _plots(root: Path, journals: list[str]) -> list[dict[str, Any]]:
    """A plot per scale and quantity: all published runs that log it, over steps."""
    plots: list[dict[str, Any]] = []
    headers = {path: next(csv.reader((root / path).read_text().splitlines()[:1]), []) for path in journals}
    for scale in sorted({path.split("/")[2] for path in journals}):
        for name, column in SHOWN.items():
            curves = {p: column for p in journals if p.split("/")[2] == scale and column in headers[p]}
            if curves:
                drawn = {"x": "step", "y": curves, "title": f"{scale}: {column}", "x_label": "step", "y_label": column}
                plots.append({f"{scale}-{name}": drawn})
    return plots


def _paths(root: Path, files: Iterable[Path]) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in files)
