"""What is wrong in systems: keys of their kind, numbers of their method, teachers and starts."""

from collections.abc import Callable
from typing import Any

import pytest

Edit = Callable[[str, str, str], None]
Put = Callable[[str, str, Any], None]
Refused = Callable[[list[str]], None]
Edited = tuple[str, str, str, list[str]]

EDITED = {
    # what is wrong: (file, text there, its replacement, what the message must say)
    "unknown key": (
        "systems/sit-amd.yaml",
        "method: amd",
        "methdo: amd",
        ["systems/sit-amd.yaml: methdo (line", "'methdo' is no key here", "did you mean 'method'?", "known: about,"],
    ),
    "unknown number": (
        "systems/sit-amd.yaml",
        "  s: 0.5\n",
        "  sensitivity: 0.5\n",
        ["systems/sit-amd.yaml: numbers.sensitivity", "known: anneal, clip", " s, "],
    ),
    "s of one": (
        "systems/sit-amd.yaml",
        "  s: 0.5\n",
        "  s: 1.0\n",
        [
            "systems/sit-amd.yaml: numbers.s (line",
            "1.0 will not do",
            "less than 1",
            "beta = 1 - s a (Eq. 13)",
            "try 0.5",
        ],
    ),
    "a number the method does not have": (
        "systems/sit-amd-without-sharpening.yaml",
        "  s: 0.5\n",
        "  k: 0.5\n",
        ["numbers.k", "'k' is no number of method 'amd-without-sharpening'", "known: clip, eta"],
    ),
    "a shrinking teacher without a branch": (
        "systems/sit-magic.yaml",
        "lora: {rank: 32, scale: 2.0}\n",
        "",
        ["systems/sit-magic.yaml: lora: missing", "'magic' borrows", "lora: {rank: 32, scale: 2.0}"],
    ),
    "unknown method": (
        "systems/sit-d-dmd.yaml",
        "method: d-dmd",
        "method: ddmd",
        ["systems/sit-d-dmd.yaml: method", "'ddmd' is no method; did you mean 'd-dmd'?", "amd-literal"],
    ),
    "unknown start": (
        "systems/sit-dmd.yaml",
        "start: sit-warm-short",
        "start: sit-warm",
        ["systems/sit-dmd.yaml: start (line", "'sit-warm' is no system; did you mean 'sit-warm-"],
    ),
    "a start that comes from nobody": (
        "systems/sit-warm-short.yaml",
        "start: sit-teacher\n",
        "",
        ["systems/sit-warm-short.yaml: start: missing; a student needs it"],
    ),
    "no stage": (
        "systems/sit-warm-short.yaml",
        "stage: short\n",
        "",
        ["systems/sit-warm-short.yaml: stage", "missing; a student needs it"],
    ),
    "a start that is a classifier": (
        "systems/sit-warm-short.yaml",
        "start: sit-teacher",
        "start: digits-judge",
        ["systems/sit-warm-short.yaml: start", "'digits-judge' is a classifier", "backbone 'sit' belongs here"],
    ),
    "starts in a circle": (
        "systems/sit-warm-long.yaml",
        "stage: long",
        "stage: long\nstart: sit-dmd-long",
        ["start", "goes in a circle"],
    ),
    "a teacher that is a student": (
        "systems/sit-warm-short.yaml",
        "teacher: sit-teacher",
        "teacher: sit-amd",
        ["teacher", "'sit-amd' is a student of track class; a teacher of track class belongs here"],
    ),
    "a stage of its own invention": (
        "systems/sit-dmd.yaml",
        "stage: finetune",
        "stage: finetun",
        ["systems/sit-dmd.yaml: stage", "'finetun' is no choice; did you mean 'finetune'?"],
    ),
    "a classifier with a method": (
        "systems/digits-judge.yaml",
        "half: 1",
        "half: 1\nmethod: amd",
        ["systems/digits-judge.yaml: method", "a classifier has no 'method'; it may have about, architecture, half"],
    ),
    "another teacher's start": (
        "systems/sit-amd.yaml",
        "method: amd",
        "method: amd\nteacher_seed: 1",
        ["systems/sit-amd.yaml: teacher_seed", "its start 'sit-warm-short' learnt from the teacher of seed 0"],
    ),
    "guidance in two ways": (
        "systems/released-lcm.yaml",
        "cfg_weight: 1.0",
        "cfg_weight: 5.0",
        ["systems/released-lcm.yaml: cfg_weight", "a recipe guides in one of the ways"],
    ),
    "another number of steps than of timesteps": (
        "systems/released-dmd2.yaml",
        "timesteps: [999, 749, 499, 249]",
        "timesteps: [999, 749, 499]",
        ["systems/released-dmd2.yaml: release", "3 timesteps, but steps is 4"],
    ),
    "a released system that is trained": (
        "systems/released-lcm.yaml",
        "title: LCM",
        "title: LCM\nmethod: amd",
        ["systems/released-lcm.yaml: method", "a released has no 'method'"],
    ),
    "a teacher from scratch with a start": (
        "systems/wan-teacher.yaml",
        "backbone: wan\n",
        "backbone: wan\nstart: wan-i2v-teacher\n",
        [
            "systems/wan-teacher.yaml: start (line",
            "is trained from scratch; one of i2v alone has a start",
        ],
    ),
    "a teacher of image to video from a student": (
        "systems/wan-i2v-teacher.yaml",
        "start: wan-teacher\n",
        "start: wan-amd\n",
        [
            "systems/wan-i2v-teacher.yaml: start (line",
            "'wan-amd' is a student with backbone 'wan-streaming' of track video",
            "a teacher of track video with backbone 'wan' belongs here",
        ],
    ),
    "a duplicate key": (
        "systems/sit-amd.yaml",
        "method: amd\n",
        "method: amd\nmethod: naive\n",
        ["systems/sit-amd.yaml: method (line", "duplicate key, first on line"],
    ),
    "no YAML": ("systems/sit-amd.yaml", "method: amd\n", "method: [amd\n", ["systems/sit-amd.yaml: no valid YAML"]),
    "a name of its own": (
        "systems/sit-amd.yaml",
        "method: amd\n",
        "method: amd\nname: sit\n",
        ["systems/sit-amd.yaml: name", "the name is the file's: 'sit-amd'"],
    ),
    "extends nobody": (
        "systems/sit-amd.yaml",
        "extends: sit-dmd",
        "extends: sit-dmdd",
        ["systems/sit-amd.yaml: extends (line 1)", "'sit-dmdd' is no system; did you mean 'sit-dmd"],
    ),
    "extends itself": (
        "systems/sit-dmd.yaml",
        "extends: sit-warm-short",
        "extends: sit-amd",
        ["extends", "goes in a circle"],
    ),
}

SET = {
    # what is wrong: (file, key, its value or ... for none, what the message must say)
    "a scorer of a classifier's architecture": (
        "systems/emoji-align-a.yaml",
        "architecture",
        "conv",
        ["systems/emoji-align-a.yaml: architecture (line", "'conv' is no architecture of a scorer; known: align-plain"],
    ),
    "a scorer with a backbone": (
        "systems/emoji-align-a.yaml",
        "backbone",
        "unet",
        ["systems/emoji-align-a.yaml: backbone", "a scorer has no 'backbone'; it may have about, architecture, half"],
    ),
    "a student of a third batch": (
        "systems/sdxl-amd-batch16.yaml",
        "batch",
        "tiny",
        ["systems/sdxl-amd-batch16.yaml: batch", "'tiny' is no choice", "known: full, small"],
    ),
    "a first time after the last": (
        "systems/sdxl-amd-one.yaml",
        "numbers.first",
        1.5,
        ["systems/sdxl-amd-one.yaml: numbers.first", "1.5 will not do", "less than or equal to 1"],
    ),
    "samples of a third kind": (
        "systems/sdxl-amd.yaml",
        "numbers.samples",
        "stale",
        ["systems/sdxl-amd.yaml: numbers.samples", "'stale' is no choice", "known: fresh, reused, same"],
    ),
}


@pytest.mark.parametrize("case", EDITED.values(), ids=EDITED.keys())
def test_what_is_wrong_is_refused_by_file_key_and_value(case: Edited, refused: Refused, edit: Edit):
    *change, said = case
    edit(*change)
    refused(said)


@pytest.mark.parametrize("case", SET.values(), ids=SET.keys())
def test_a_value_that_will_not_do_is_refused(case: tuple[str, str, Any, list[str]], refused: Refused, put: Put):
    *change, said = case
    put(*change)
    refused(said)
