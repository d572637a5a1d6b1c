"""A digest covers what defines a result: comments and titles retrain nothing, a number reruns exactly its chain."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amd.config import plan
from amd.config.jobs import Job, jobs
from amd.config.load import Library, load

Edit = Callable[[str, str, str], None]
Put = Callable[[str, str, Any], None]


def everything(library: Library, scale: str = "tiny") -> dict[str, Job]:
    """Output -> job, of all that is runnable."""
    return {job.output: job for job in jobs(library, scale, *plan.runnable(library, "all"))}


def changed(root: Path, edit: Edit, *edits: tuple[str, str, str], scale: str = "tiny") -> set[str]:
    """Outputs whose digest moves."""
    before = everything(load(root), scale)
    for each in edits:
        edit(*each)
    after = everything(load(root), scale)
    assert before.keys() == after.keys()
    return {output for output, job in after.items() if job.digest != before[output].digest}


def trained(outputs: set[str]) -> set[str]:
    """Run names among the checkpoints of `outputs`."""
    return {output.split("/")[2] for output in outputs if output.startswith("checkpoints/")}


def test_comments_titles_and_sources_retrain_nothing(root: Path, edit: Edit):
    moved = changed(
        root,
        edit,
        ("systems/sit-amd.yaml", "title: AMD\n", "# what the paper proposes\n\ntitle: AMD, ours\n"),
        ("systems/sit-amd.yaml", 'k: "Eq. 14 as printed, W = exp(-a)"', 'k: "Eq. 14"'),
        ("systems/sit-warm-short.yaml", "stage.", "stage, as always."),
    )
    assert moved == set()


def test_another_order_of_keys_retrains_nothing(root: Path, edit: Edit):
    edit_both = [
        ("systems/sit-amd.yaml", "  s: 0.5\n", ""),
        ("systems/sit-amd.yaml", "  k: 1.0\n", "  k: 1.0\n  s: 0.5\n"),
    ]
    assert changed(root, edit, *edit_both) == set()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scales/tiny.yaml", "seeds: [0, 1, 2]\nprecision", "seeds: [0, 1, 2]   # three\nprecision"),
        ("scales/tiny.yaml", "distill: {cpus: 1, mem_mb: 2500", "distill: {cpus: 2, mem_mb: 3500"),
        ("scales/tiny.yaml", "  micro_batch: 64", "  micro_batch: 32"),
        ("scales/tiny.yaml", "  sample_batch: 250", "  sample_batch: 100"),
        ("config.yaml", "mirror: null", "mirror: /mnt/weights"),
    ],
    ids=["comment", "footprint", "micro_batch", "sample_batch", "mirror"],
)
def test_how_a_result_is_computed_is_no_part_of_it(root: Path, edit: Edit, file: str, old: str, new: str):
    assert changed(root, edit, (file, old, new)) == set()


def test_a_number_reruns_exactly_its_chain(root: Path, edit: Edit):
    moved = changed(root, edit, ("systems/sit-amd.yaml", "  s: 0.5\n", "  s: 0.7\n"))
    doses = {"sit-amd-k02", "sit-amd-k05", "sit-amd-k2", "sit-amd-k3"}  # they extend sit-amd
    assert trained(moved) == {"sit-amd", "sit-amd-long"} | doses
    for output in moved - {o for o in moved if "/tables/" in o or "/figures/" in o}:
        assert output.split("/")[2] in trained(moved)
    kinds = {Path(output).parent.parent.name for output in moved}
    assert {"samples", "scores", "trace"} <= kinds | {Path(output).parent.name for output in moved}


def test_a_number_that_goes_back_goes_all_the_way_back(root: Path, edit: Edit):
    moved = changed(
        root,
        edit,
        ("systems/sit-amd.yaml", "  s: 0.5\n", "  s: 0.7\n"),
        ("systems/sit-amd.yaml", "  s: 0.7\n", "  s: 0.5\n"),
    )
    assert moved == set()


def test_a_start_moves_what_starts_from_it(root: Path, edit: Edit):
    moved = trained(changed(root, edit, ("scales/tiny.yaml", "    long: 240 ", "    long: 400 ")))
    assert "sit-warm-long" in moved
    assert moved == {"sit-warm-long"} | {name for name in moved if name.endswith("-long")}
    assert "sit-amd-long" in moved


def test_the_reward_moves_only_who_reads_it(root: Path, edit: Edit):
    moved = changed(root, edit, ("systems/digits-reward.yaml", "architecture: conv", "architecture: resnet"))
    assert {"digits-reward", "sit-amd", "sit-dmdr", "sit-naive"} <= trained(moved)
    assert not {"digits-judge", "sit-teacher", "sit-dmd", "sit-d-dmd", "sit-magic", "sit-warm-short"} & trained(moved)
    assert any("/sit-dmd/" in output and "/scores/" in output for output in moved)  # whose reward is measured


def test_the_judge_moves_scores_and_no_training(root: Path, edit: Edit):
    moved = changed(root, edit, ("systems/digits-judge.yaml", "architecture: resnet", "architecture: conv"))
    assert trained(moved) == {"digits-judge"}
    assert not [output for output in moved if "/samples/" in output]
    assert all(output in moved for output in everything(load(root)) if "/scores/class/" in output)
    assert not [output for output in moved if "/scores/" in output and "/scores/class/" not in output]


def test_a_benchmark_s_version_scores_anew_and_trains_nothing(root: Path, edit: Edit):
    moved = changed(root, edit, ("benchmarks/class.yaml", "version: 1", "version: 2"))
    assert trained(moved) == set()
    of_it = [output for output in everything(load(root)) if "/scores/class/" in output or "/trace/class." in output]
    assert of_it
    assert set(of_it) <= moved
    assert not {output for output in moved if "/scores/" in output} - set(of_it)


def test_more_samples_train_nothing(root: Path, edit: Edit):
    moved = changed(root, edit, ("scales/tiny.yaml", "  samples: 5000", "  samples: 6000"))
    assert trained(moved) == set()
    assert moved


def text_moved(root: Path, put: Put, file: str, key: str, value: Any) -> set[str]:
    """Outputs of the text track at tiny whose digest one key moves."""
    before = everything(load(root))
    put(file, key, value)
    after = everything(load(root))
    assert before.keys() == after.keys()
    return {output for output, job in after.items() if job.digest != before[output].digest and "/sit-" not in output}


def test_training_prompts_move_students_and_a_benchmarks_its_samples_alone(root: Path, put: Put):
    moved = text_moved(root, put, "scales/tiny.yaml", "text.prompts.train", 100)
    assert {"sdxl-dmd2", "sdxl-amd", "sdxl-amd-literal"} <= trained(moved)
    assert not {"sdxl-teacher", "emoji-align-a", "sprite-detector"} & trained(moved)
    moved = text_moved(root, put, "scales/tiny.yaml", "text.prompts.geneval", 12)
    assert trained(moved) == set()
    assert {output.split("/")[5].removesuffix(".json") for output in moved if "/samples/" in output} == {"geneval"}
    assert {output.split("/")[5] for output in moved if "/scores/" in output} == {"geneval"}


def test_the_text_reward_moves_who_reads_it_and_who_is_judged_by_it(root: Path, put: Put):
    moved = text_moved(root, put, "scales/tiny.yaml", "text.scorers.align-plain.iterations", 17)
    assert {"emoji-align-a", "sdxl-amd", "sdxl-amd-literal"} <= trained(moved)
    assert not {"emoji-align-b", "sdxl-teacher", "sdxl-dmd2", "sdxl-d-dmd"} & trained(moved)
    assert any("/sdxl-dmd2/" in output and "/scores/" in output for output in moved)
    assert not [output for output in moved if "/sdxl-dmd2/" in output and "/samples/" in output]


def test_a_member_of_the_panel_moves_scores_alone(root: Path, put: Put):
    moved = text_moved(root, put, "domains/emoji.yaml", "panel.pickscore.times", 10)
    assert trained(moved) == set()
    assert not [output for output in moved if "/samples/" in output]
    assert any("/scores/" in output for output in moved)


def test_how_images_are_stored_moves_the_samples_of_its_benchmark_alone(root: Path, put: Put):
    moved = text_moved(root, put, "domains/emoji.yaml", "prompts.coco10k.eight_bits", "truncated")
    assert trained(moved) == set()
    assert {output.split("/")[5].removesuffix(".json") for output in moved if "/samples/" in output} == {"coco10k"}


def test_to_say_which_texts_a_source_has_moves_nothing(root: Path, put: Put):
    """Source and files say it already, and those are in the digest."""
    before = everything(load(root), "paper")
    put("domains/wan.yaml", "prompts.vbench.variant", ...)
    assert {output: job.digest for output, job in everything(load(root), "paper").items()} == {
        output: job.digest for output, job in before.items()
    }


def test_a_package_moves_the_scores_of_who_asks_for_it(root: Path, put: Put):
    before = everything(load(root), "paper")
    put("domains/sdxl.yaml", "panel.imagereward.scorer", "package")
    after = everything(load(root), "paper")
    moved = {output for output, job in after.items() if job.digest != before[output].digest}
    assert moved
    assert all("/scores/" in output or "/reference/" in output for output in moved)


def test_the_small_batch_moves_the_run_that_has_it(root: Path, put: Put):
    before = load(root)
    put("scales/tiny.yaml", "text.small_batch", 16)
    after = load(root)
    systems = [s.name for s in before.systems.values() if s.track == "text"]
    moved = {s for s in systems if before.run(s, "tiny", 0).digest != after.run(s, "tiny", 0).digest}
    assert moved == {s for s in systems if before.systems[s].batch == "small"}


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("scales/tiny.yaml", "text.recompute", True),
        ("scales/tiny.yaml", "text.micro_batch", 8),
        ("scales/tiny.yaml", "text.sample_batch", 7),
        ("domains/emoji.yaml", "encoder.kept", False),
        ("domains/emoji.yaml", "metrics.overall", "Overall"),
    ],
)
def test_how_a_text_result_is_computed_or_called_is_no_part_of_it(
    root: Path, put: Put, file: str, key: str, value: Any
):
    moved = text_moved(root, put, file, key, value)
    assert not {output for output in moved if "/tables/" not in output and "/figures/" not in output}


def test_a_teacher_of_another_seed_is_one_line(root: Path, edit: Edit):
    edit("systems/sit-warm-short.yaml", "ema: 0.95", "ema: 0.95\nteacher_seed: 1")
    library = load(root)
    run = library.run("sit-amd", "tiny", 2)
    assert run.teacher is not None
    assert run.start is not None
    assert run.start.teacher is not None
    assert (run.seed, run.teacher.seed, run.start.seed, run.start.teacher.seed) == (2, 1, 2, 1)
    assert plan.seeds(library, "sit-teacher", "tiny", ["sit-amd", "sit-dmd"]) == (1,)
    assert plan.table_inputs(library, "table4", "tiny")[0].startswith("results/tiny/sit-teacher/seed1/")


def test_a_published_teacher_is_known_by_its_file(root: Path, edit: Edit):
    before = load(root).run("sit-teacher", "paper", 0).digest
    edit("domains/imagenet.yaml", "file: SiT-XL-2-256x256.pt", f"file: SiT-XL-2-256x256.pt\n    sha256: {'a' * 64}")
    assert load(root).run("sit-teacher", "paper", 0).digest != before


def test_seeds_stand_in_the_path_and_not_in_the_digest(library: Library):
    assert library.run("sit-amd", "tiny", 0).digest == library.run("sit-amd", "tiny", 1).digest


def test_the_name_of_a_file_is_no_part_of_its_digest(root: Path):
    shutil.copy(root / "systems/sit-dmdr.yaml", root / "systems/sit-copy.yaml")
    library = load(root)
    assert library.run("sit-copy", "tiny", 0).digest == library.run("sit-dmdr", "tiny", 0).digest


def test_every_two_systems_differ(library: Library):
    for scale in library.scales:
        students = [s.name for s in library.systems.values() if s.kind == "student"]
        digests = {library.run(name, scale, 0).digest for name in students}
        assert len(digests) == len(students)
