"""The main job from end to end at scale smoke, all of it real and small; then what a change reruns; then its report.

One build serves all tests of this file, so they stand in the order of the story; each puts back what it changed.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amd.config import plan
from amd.config.jobs import jobs
from amd.config.load import load
from amd.doctor import BROWSERS

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

SCALE = "smoke"
BUILD = ("amd", "build", "main", "--scale", SCALE, "--cores", "2")


@pytest.fixture(scope="module")
def built(checkout):
    """The checkout after the main job; `said` is what the build printed."""
    done = checkout.call(*BUILD)
    checkout.said = done.stdout + done.stderr
    return checkout


def test_every_target_is_there_and_whole(built):
    for target in plan.goal_targets(load(), SCALE, "main"):
        assert (built.folder / target).stat().st_size > 0, target
    assert not list(built.folder.glob("**/*.part"))
    for ext in plan.TABLE_FILES:
        assert (built.folder / plan.table(SCALE, "table4", ext)).is_file()
    for ext in plan.FIGURE_FILES:
        assert (built.folder / plan.figure(SCALE, "figure5", ext)).is_file()


def test_the_build_says_how_far_it_is_and_where_everything_is(built):
    assert re.search(r"\d+ jobs on \d cores, about .* left", built.said)
    assert "Distill sit-amd, seed 0" in built.said
    assert "results/smoke/tables/table4.md" in built.said
    assert "results/smoke/report.html" in built.said


def test_a_table_prints_ours_the_papers_and_the_banner(built):
    text = (built.folder / plan.table(SCALE, "table4")).read_text()
    assert "These numbers mean nothing" in text
    assert "3.4690" in text  # Table 4, AMD, FID
    assert "FD-digits" in text


def test_a_score_says_what_it_is_of(built):
    run = load(built.folder / "config").run("sit-amd", SCALE, 0)
    file = built.folder / plan.score(SCALE, "sit-amd", 0, "class", run.domain.judge.name)
    score = json.loads(file.read_text())
    assert score["run_digest"] == run.digest
    assert score["n"] == run.scale.klass.samples


def test_run_again_it_says_that_nothing_is_to_be_done_in_seconds(built):
    report = built.folder / "results/smoke/report.html"
    before = report.stat().st_mtime_ns
    began = time.monotonic()
    said = built.call(*BUILD).stdout
    assert "Nothing to be done" in said
    assert "results/smoke/report.html" in said
    assert report.stat().st_mtime_ns == before
    assert time.monotonic() - began < 40  # 3 s on an idle machine


def test_a_comment_reruns_nothing(built):
    file = built.folder / "config/systems/sit-amd.yaml"
    before = file.read_text()
    try:
        file.write_text("# a remark\n" + before)
        assert not built.dry("main", scale=SCALE).jobs
    finally:
        file.write_text(before)


def test_one_number_reruns_exactly_its_chain_and_back_again_nothing(built):
    """sit-amd is trained, sampled, scored and traced anew for each seed, and only what shows it is drawn anew."""
    library = load(built.folder / "config")
    file = built.folder / "config/systems/sit-amd.yaml"
    before = file.read_text()
    assert before.count("numbers:") <= 1
    changed = re.sub(r"\bs: *[0-9.]+", "s: 0.7", before, count=1)
    if changed == before:
        changed = re.sub(r"^method:.*$", r"\g<0>\nnumbers: {s: 0.7}", before, count=1, flags=re.M)
    try:
        file.write_text(changed)
        assert load(built.folder / "config").systems["sit-amd"].numbers.s == 0.7
        dry = built.dry("main", scale=SCALE)
    finally:
        file.write_text(before)
    seeds = len(library.scales[SCALE].seeds)
    for rule in ("distill", "sample", "score", "trace", "grid"):
        assert dry.runs(rule) == {"sit-amd"}
    assert dry.count() == {
        **dict.fromkeys(("distill", "sample", "score", "trace"), seeds),
        "grid": 1,
        "table": 1,
        "figure": 2,
        "main": 1,
    }
    assert {job["wildcards"]["name"] for job in dry.of("figure")} == {"figure5", "figure6"}
    assert not built.dry("main", scale=SCALE).jobs


def test_a_longer_time_limit_is_no_reason_to_train_anew(built):
    file = built.folder / f"config/scales/{SCALE}.yaml"
    before = file.read_text()
    try:
        file.write_text(re.sub(r"runtime_min: \d+", "runtime_min: 77", before))
        assert load(built.folder / "config").scales[SCALE].footprints["distill"].runtime_min == 77
        assert not built.dry("main", scale=SCALE).jobs
    finally:
        file.write_text(before)


def test_a_lost_score_is_made_again_alone(built):
    """Asked for by name; while what it went into is whole, the goal itself does not miss it."""
    name = "results/smoke/sit-dmd/seed0/scores/class/classifier.json"
    away = built.folder / "away.json"
    shutil.move(built.folder / name, away)
    try:
        dry = built.dry(name, scale=SCALE)
    finally:
        shutil.move(away, built.folder / name)
    assert dry.count() == {"score": 1}
    assert dry.runs("score") == {"sit-dmd"}


def test_an_edit_of_the_code_retrains_nothing_and_is_listed(built, tmp_path):
    """With a package whose every file has changed, Snakemake has nothing to do; `amd stale` has something to say."""
    shutil.copytree(ROOT / "amd", tmp_path / "amd", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (tmp_path / "amd").rglob("*.py"):
        file.write_text(file.read_text() + "\nCHANGED = True\n")
    edited = str(tmp_path)
    done = built.call("snakemake", "-n", "--config", f"scale={SCALE}", "--", "main", PYTHONPATH=edited)
    assert "Nothing to be done" in done.stdout + done.stderr
    code = "from amd.config import plan; assert plan.CHANGED"  # so the edit was there to be seen
    subprocess.run([sys.executable, "-c", code], cwd=built.folder, env=os.environ | {"PYTHONPATH": edited}, check=True)
    said = built.call("amd", "stale", "--scale", SCALE, PYTHONPATH=edited).stdout
    # the copy is no git checkout, so nobody can tell what lies between it and the commit that made the results
    assert "which this clone does not have" in said or "Made outside of a git checkout" in said
    assert "the code of 0 is" not in said


def test_a_table_lists_the_commits_that_it_mixes(built):
    """One score of another commit, and the table made again: both are named."""
    name = plan.score(SCALE, "sit-dmd", 0, "class", "classifier")
    file, table = built.folder / name, built.folder / plan.table(SCALE, "table4")
    before, times = file.read_text(), os.stat(file)
    scores = [json.loads((built.folder / path).read_text()) for path in plan.table_inputs(load(), "table4", SCALE)]
    commits = {score["git_sha"] for score in scores}  # one, unless somebody committed while this was built
    kept = {path: path.read_bytes() for path in table.parent.glob("table4.*")}
    stamps = {path: os.stat(path) for path in kept}
    try:
        file.write_text(json.dumps(json.loads(before) | {"git_sha": "d" * 40}))
        built.call("amd", "table", "table4", "--scale", SCALE)
        text = table.read_text()
    finally:
        file.write_text(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        for path, content in kept.items():
            path.write_bytes(content)
            os.utime(path, ns=(stamps[path].st_atime_ns, stamps[path].st_mtime_ns))
    assert f"Mixed: these scores come from {len(commits) + 1} commits." in text
    assert "d" * 12 in text


def test_every_log_begins_with_who_wrote_it_and_status_calls_every_job_done(built):
    logs = sorted((built.folder / "results").rglob("*.log"))
    tables, figures = plan.runnable(load(), "main")
    assert len(logs) == len(jobs(load(), SCALE, tables, figures))
    for log in logs:
        first = log.read_text().splitlines()[0]
        assert re.match(r"\d\d:\d\d:\d\d amd \w+: \S+.*, attempt \d+, commit \S+, process \d+, ", first), log
    said = built.call("amd", "status", "main", "--scale", SCALE).stdout
    assert f"  {len(logs)} of {len(logs)} jobs done\n" in said
    assert built.call("amd", "status", "--failed", "--scale", SCALE).stdout.strip() == ""


# --- the report -----------------------------------------------------------------------------------------------------

CLICKS = """
<script>
const seen = {}, steps = STEPS;
const find = (step) => step.startsWith('@')
  ? document.querySelectorAll('[iconname=' + step.slice(1).split('#')[0] + ']')[Number(step.split('#')[1])]
  : [...document.querySelectorAll('a, button')].find((element) => element.textContent.trim() === step);
const go = (i) => {
  if (i > 0) seen[i - 1] = document.getElementById('app').innerText
    + [...document.querySelectorAll('#app img')].map((image) => ' IMG' + image.naturalWidth).join('')
    + [...document.querySelectorAll('#app iframe')].map((frame) => ' FRAME ' + frame.src).join('');
  if (i === steps.length) {
    const out = document.createElement('pre');
    out.id = 'seen';
    out.textContent = btoa(unescape(encodeURIComponent(JSON.stringify(seen))));
    document.body.appendChild(out);
    return;
  }
  const element = find(steps[i]);
  if (element) element.click();
  setTimeout(() => go(i + 1), 700);
};
setTimeout(() => go(0), 2500);
</script>
"""


@pytest.fixture(scope="module")
def browser():
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no browser: install chromium (Debian's package of that name)")
    return found


def visit(browser: str, report: Path, folder: Path, *steps: str) -> list[str]:
    """What the page shows after each click: a link's text, or `@icon#n` for the n-th icon of a name."""
    text = report.read_text()
    end = text.rindex("</body>")
    page = folder / "page.html"
    page.write_text(text[:end] + CLICKS.replace("STEPS", json.dumps(steps)) + text[end:])
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=30000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(folder)},
    )
    found = re.search(r'<pre id="seen">([^<]*)</pre>', done.stdout)
    assert found, f"the page did not finish:\n{done.stderr[-2000:]}"
    seen = json.loads(base64.b64decode(found[1]))
    return [seen[str(i)] for i in range(len(steps))]


def test_the_report_opens_in_a_browser_and_has_tables_pictures_and_captions(built, browser, tmp_path):
    report = built.folder / "results/smoke/report.html"
    tables, table, caption, _, figures, picture = visit(
        browser, report, tmp_path, "Tables", "@eye#0", "@information-circle#0", "Results", "Figures", "@eye#0"
    )
    assert "Table 4" in tables
    page = re.search(r"FRAME data:text/html[^,]*;base64,(\S+)", table)
    assert page, table[-500:]
    inside = base64.b64decode(page[1]).decode()
    assert "<table>" in inside
    assert "AMD (Ours)" in inside
    assert f"Scale {SCALE}" in caption
    assert "training seeds" in caption
    for name in ("Figure 5", "Figure 6", "Figure 7", "Figure 8"):
        assert name in figures
    widths = [int(width) for width in re.findall(r"IMG(\d+)", picture)]
    assert max(widths) > 600  # a figure, decoded by the browser


def test_the_report_shows_a_grid_of_each_system(built, browser, tmp_path):
    report = built.folder / "results/smoke/report.html"
    listed, grid = visit(browser, report, tmp_path, "Samples", "@eye#0")
    library = load()
    for row in library.tables["table4"].rows:
        assert library.systems[row.system].title in listed
    assert max(int(width) for width in re.findall(r"IMG(\d+)", grid)) > 100
