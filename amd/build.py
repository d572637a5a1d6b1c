"""A goal from start to finish: Snakemake with a progress display, then the HTML report, then where everything is.

What `make tiny` calls. Whoever likes Snakemake's own log better runs `snakemake -c2 main`, which does the same work.
"""

import os
import subprocess
import sys
from pathlib import Path

from amd.config import plan
from amd.config.load import Library
from amd.status.text import failures

PLUGINS = Path("workflow/progress")  # holds the logger plugin `progress`


def build(library: Library, goal: str, scale: str, cores: int) -> int:
    """Make every file of a goal of config.yaml, and the report when a file is newer than it. Returns an exit code."""
    targets = plan.goal_targets(library, scale, goal)
    before = _newest(targets)
    print(
        f"Goal '{goal}' at scale {scale}: {_amount(library, goal)}. A first look at what there is to do ...", flush=True
    )
    code = _snakemake(
        *("--cores", str(cores), "--config", f"scale={scale}", "--logger", "progress"),
        *("--scheduler", "greedy"),  # a solver for the best order may itself be late on a busy machine
        *("--no-hooks", "--rerun-incomplete", "--keep-going"),
        *("--prioritize", *_first(library, goal, scale), "--", goal),
    )
    if code:
        # not by Snakemake's own hook, which would write into the display's lines
        print(f"\n{failures(library, scale)}", file=sys.stderr)
        print(
            "\nSomething failed: the lines above name the job and its log. The same command goes on from here "
            "(trainings resume from their last checkpoint); after a `kill -9`, `snakemake --unlock` comes first.",
            file=sys.stderr,
        )
        return code
    if _newest(targets) == before:
        print("Nothing to be done: every file is up to date.")
    report = Path(f"results/{scale}/report.html")
    if not report.is_file() or report.stat().st_mtime < _newest(targets):
        print("Writing the report ...", flush=True)
        part = report.with_name("report.part.html")  # Snakemake looks at the suffix
        code = _snakemake("--config", f"scale={scale}", "--quiet", "all", "--report", str(part), "--", goal)
        if code:
            return code
        os.replace(part, report)
    print(_where(library, goal, scale, report))
    return 0


def _snakemake(*arguments: str) -> int:
    path = os.pathsep.join(filter(None, [str(PLUGINS.resolve()), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], env=os.environ | {"PYTHONPATH": path}
    ).returncode


def _first(library: Library, goal: str, scale: str) -> list[str]:
    """What is worth having before the rest: the plane's first picture, and the teachers, which everything awaits."""
    tables, figures = plan.runnable(library, goal)
    planes = [plan.figure(scale, name) for name in figures if library.figures[name].kind == "plane"]
    teachers: list[str] = []
    for name in tables:
        for cell in plan.cells(library, name, scale):
            if library.systems[cell.system].kind == "teacher":
                teachers += [plan.checkpoint(scale, cell.system, seed) for seed in cell.seeds]
    return [*planes[:1], *dict.fromkeys(teachers)] or [goal]


def _amount(library: Library, goal: str) -> str:
    tables, figures = plan.runnable(library, goal)
    return f"tables {', '.join(tables) or 'none'}; figures {', '.join(figures) or 'none'}"


def _newest(targets: list[str]) -> float:
    """When the youngest of the files was made; 0 when one is missing."""
    if not all(Path(target).is_file() for target in targets):
        return 0.0
    return max((Path(target).stat().st_mtime for target in targets), default=0.0)


def _where(library: Library, goal: str, scale: str, report: Path) -> str:
    tables, figures = plan.runnable(library, goal)
    lines = ["", "Here it is:"]
    lines += [f"  table    {plan.table(scale, name)}   {library.tables[name].title}" for name in tables]
    lines += [f"  figure   {plan.figure(scale, name)}   {library.figures[name].title}" for name in figures]
    lines += [f"  report   {report}   all of it, with captions and sample grids: open it in a browser"]
    return "\n".join(lines)
