"""What the workflow costs besides its work: a dry run, and a job, against a trivial Snakefile of the same graph.

    OMP_NUM_THREADS=1 python benchmarks/dag.py                    # dry runs of 50, 500 and 5,000 jobs; some minutes
    OMP_NUM_THREADS=1 python benchmarks/dag.py --execute 50 500   # and every job executed, its command replaced
    OMP_NUM_THREADS=1 python benchmarks/dag.py --verbs            # how long each verb of amd takes to start

Ours is the real Snakefile with the real configuration at scale smoke, but for its number of training seeds, which
makes the number of jobs. The trivial one has the same rules, files and edges by patterns alone: no functions, no
parameters, no resources, no labels. Both run alternately in processes of their own; CPU time, since wall time says
little on a shared machine. In `--execute` a shell function named python stands for the verbs and only makes their
outputs.
"""

import argparse
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (50, 500, 5000)
TARGETS = ("results/smoke/tables/table4.md", "results/smoke/figures/figure5.png", "results/smoke/figures/figure6.png")
FIXED, EACH = 9, 22  # jobs that these take besides, and per training seed

TRIVIAL = """
SEEDS = range({seeds})
TRACED = ["sit-dmd", "sit-amd", "sit-amd-without-adaptation", "sit-amd-without-sharpening"]
FINE = ["sit-dmdr", *TRACED]
STUDENTS = ["sit-warm-short", *FINE]
P = "results/smoke/{{run}}/seed{{seed}}"
C = "checkpoints/smoke/{{run}}/seed{{seed}}"
REWARD, JUDGE = "checkpoints/smoke/digits-reward/seed0", "checkpoints/smoke/digits-judge/seed0"
TEACHER = "checkpoints/smoke/sit-teacher/seed0"
REFERENCE = "results/smoke/reference/seed0/class/classifier"

wildcard_constraints:
    seed=r"\\d+",

rule pretrain:
    output: directory(C)
    wildcard_constraints: run="sit-teacher|digits-reward|digits-judge"
    shell: "mkdir -p {{output}}"

rule start:
    input: TEACHER
    output: directory("checkpoints/smoke/sit-warm-short/seed{{seed}}")
    shell: "mkdir -p {{output}}"

rule distill:
    input: "checkpoints/smoke/sit-warm-short/seed{{seed}}", TEACHER, REWARD
    output: directory(C)
    wildcard_constraints: run="|".join(FINE)
    shell: "mkdir -p {{output}}"

rule sample:
    input: C
    output: directory(P + "/samples/class")
    shell: "mkdir -p {{output}}"

rule reference:
    input: JUDGE, REWARD
    output: directory(REFERENCE)
    shell: "mkdir -p {{output}}"

rule score:
    input: P + "/samples/class", REFERENCE, JUDGE, REWARD
    output: P + "/scores/class/classifier.json", P + "/records/class/classifier.parquet"
    shell: "touch {{output}}"

rule trace:
    input: C, "checkpoints/smoke/sit-warm-short/seed{{seed}}", REFERENCE, JUDGE, REWARD
    output: P + "/trace/class.json"
    shell: "touch {{output}}"

rule figure:
    input: expand(P + "/trace/class.json", run=TRACED, seed=SEEDS)
    output: multiext("results/smoke/figures/{{name}}.", "png", "html", "json", "md")
    shell: "touch {{output}}"

rule table:
    input:
        expand(P + "/scores/class/classifier.json", run=STUDENTS, seed=SEEDS),
        P.format(run="sit-teacher", seed=0) + "/scores/class/classifier.json",
    output: multiext("results/smoke/tables/{{name}}.", "html", "md", "tex", "csv", "json")
    shell: "touch {{output}}"
"""

# stands for `python -m amd VERB ...` while jobs are executed: makes what the verb's options or its name say
PRETEND = r"""() {
  [ "$1" = -m ] && [ "$2" = amd ] || { command python "$@"; return; }
  local verb=$3 out= records= scale= last=
  while [ $# -gt 0 ]; do
    case $1 in --out) out=$2 ;; --records) records=$2 ;; --scale) scale=$2 ;; esac
    last=$1; shift
  done
  case $verb in
    pretrain|distill|reference|sample|plane) mkdir -p "$out" ;;
    score) : > "$out"; : > "$records" ;;
    trace|grid) : > "$out" ;;
    table) for e in html md tex csv json; do : > "results/$scale/tables/$last.$e"; done ;;
    figure) for e in png html json md; do : > "results/$scale/figures/$last.$e"; done ;;
    *) echo "no stand-in for verb $verb" >&2; return 1 ;;
  esac
}"""


def ours(folder: Path, seeds: int) -> None:
    """The checkout's workflow and configuration, with so many training seeds at scale smoke."""
    shutil.copy(ROOT / "Snakefile", folder)
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "config/scales/smoke.yaml"
    text, count = re.subn(r"^seeds:.*$", f"seeds: {list(range(seeds))}", file.read_text(), flags=re.M)
    assert count == 1, f"{file} has {count} lines of seeds"
    file.write_text(text)


def trivial(folder: Path, seeds: int) -> None:
    """The same graph by patterns."""
    (folder / "Snakefile").write_text(TRIVIAL.format(seeds=seeds))


def snakemake(folder: Path, *arguments: str, **env: str) -> tuple[float, float, str]:
    """CPU seconds with all children, wall seconds, and what was said. RuntimeError where it fails."""
    own = ["--config", "scale=smoke"] if (folder / "config").is_dir() else []
    command = [sys.executable, "-m", "snakemake", *own, *arguments]
    return measured(command, folder, PYTHONPATH=str(ROOT), **env)


def measured(command: list[str], folder: Path, **env: str) -> tuple[float, float, str]:
    """As `snakemake`, of any command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, env=os.environ | env, capture_output=True, text=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    said = done.stdout + done.stderr
    if done.returncode:
        words = [line for line in said.splitlines() if not line.startswith("import time:")]
        raise RuntimeError("\n".join([f"{' '.join(command)} exited {done.returncode}:", *words[-40:]]))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall, said


def planned(said: str) -> int:
    """The number of jobs in a dry run's words."""
    found = re.search(r"^total +(\d+)$", said, flags=re.M)
    if found is None:
        raise RuntimeError(f"no count of jobs in:\n{said[-2000:]}")
    return int(found[1])


def compare(sizes: list[int], rounds: int, execute: bool) -> None:
    """Both Snakefiles at each size, alternately; prints seconds, their ratio, and what one more job costs."""
    noun = "every job executed" if execute else "dry run"
    print(
        f"\n{noun + ', CPU seconds':<34}{'jobs':>7}{'ours':>9}{'trivial':>9}{'ratio':>8}{'wall s, ours / trivial':>26}"
    )
    rows: list[tuple[int, float, float]] = []
    for size in sizes:
        seeds = max(1, round((size - FIXED) / EACH))
        cpu: dict[str, list[float]] = {"ours": [], "trivial": []}
        wall: dict[str, list[float]] = {"ours": [], "trivial": []}
        jobs: dict[str, int] = {}
        for _ in range(rounds):
            for name, make in (("ours", ours), ("trivial", trivial)):
                with tempfile.TemporaryDirectory(prefix="amd-dag-") as place:
                    folder = Path(place)
                    make(folder, seeds)
                    env = {"XDG_CACHE_HOME": str(folder / ".cache")}
                    if execute:
                        env["BASH_FUNC_python%%"] = PRETEND
                        arguments = ("--cores", "2", "--quiet", "rules", "--", *TARGETS)
                    else:
                        arguments = ("-n", "--quiet", "rules", "--", *TARGETS)
                    took, spent, said = snakemake(folder, *arguments, **env)
                    missing = [file for file in TARGETS if execute and not (folder / file).is_file()]
                    if missing:
                        raise RuntimeError(f"{name} made no {', '.join(missing)}")
                jobs[name] = planned(said)
                cpu[name].append(took)
                wall[name].append(spent)
        if jobs["ours"] != jobs["trivial"]:
            raise RuntimeError(f"the graphs differ: {jobs}; TRIVIAL no longer has the jobs of Table 4, Figures 5 and 6")
        mine, theirs = statistics.median(cpu["ours"]), statistics.median(cpu["trivial"])
        ratio = statistics.median(a / b for a, b in zip(cpu["ours"], cpu["trivial"], strict=True))
        walls = " / ".join(f"{statistics.median(wall[name]):.1f}" for name in ("ours", "trivial"))
        print(f"{'':<34}{jobs['ours']:>7}{mine:>9.2f}{theirs:>9.2f}{ratio:>8.2f}{walls:>26}", flush=True)
        rows.append((jobs["ours"], mine, theirs))
    for (n0, a0, b0), (n1, a1, b1) in pairwise(rows):
        each = [1e3 * (last - first) / (n1 - n0) for first, last in ((a0, a1), (b0, b1))]
        ratio = each[0] / each[1]
        print(f"one more job, {n0} to {n1}: ours {each[0]:.2f} ms, trivial {each[1]:.2f} ms, ratio {ratio:.2f}")


def imports() -> None:
    """What a dry run of everything imports of what it must not."""
    with tempfile.TemporaryDirectory(prefix="amd-dag-") as place:
        ours(Path(place), 2)
        env = {"PYTHONPROFILEIMPORTTIME": "1", "XDG_CACHE_HOME": f"{place}/.cache"}
        _, _, said = snakemake(Path(place), "-n", "--", "all", **env)
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in said.splitlines() if line.startswith("import ")}
    heavy = sorted(loaded & {"torch", "torchvision", "diffusers", "transformers", "matplotlib", "scipy"})
    print(f"A dry run of `all` loads {len(loaded)} packages; heavy ones: {', '.join(heavy) or 'none'}.")


def verbs(rounds: int) -> None:
    """CPU seconds until a verb's own function could begin: the interpreter and every module that the verb imports."""
    sys.path.insert(0, str(ROOT))
    from amd.__main__ import parser
    from amd.status.reach import entries

    names = next(action for action in parser()._actions if action.choices).choices or {}
    floors = {"python": "pass", "import torch": "import torch"}
    codes = {name: "; ".join(f"import {module}" for module in sorted(entries(name))) or "pass" for name in names}
    print(f"\n{'start of a verb, CPU seconds':<34}{'':>7}{'s':>9}{'modules':>9}")
    for name, code in {**floors, **codes}.items():
        took = []
        for _ in range(rounds):
            command = [sys.executable, "-c", f"import sys; {code}; print(len(sys.modules))"]
            cpu, _, said = measured(command, ROOT, PYTHONPATH=str(ROOT))
            took.append(cpu)
        print(f"{name:<34}{'':>7}{statistics.median(took):>9.2f}{said.splitlines()[-1]:>9}", flush=True)


def main() -> None:
    """What was asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="jobs of the dry runs (default 50 500 5000)")
    asked.add_argument("--execute", type=int, nargs="*", default=[], help="jobs to execute, too (default none)")
    asked.add_argument("--rounds", type=int, default=3, help="alternating rounds; medians over them (default 3)")
    asked.add_argument("--verbs", action="store_true", help="only the start of each verb")
    options = asked.parse_args()
    if options.verbs:
        verbs(options.rounds)
        return
    imports()
    compare(list(options.sizes), options.rounds, execute=False)
    if options.execute:
        compare(options.execute, options.rounds, execute=True)


if __name__ == "__main__":
    main()
