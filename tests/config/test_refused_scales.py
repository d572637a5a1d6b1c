"""What is wrong in scales: sizes, footprints, seeds, and the domains that they do not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amd.config.load import ConfigError, load

Edit = Callable[[str, str, str], None]
Put = Callable[[str, str, Any], None]
Refused = Callable[[list[str]], None]
Edited = tuple[str, str, str, list[str]]

LR = "  group: 8\n  lr: 2.0e-4\n  fake_lr: 2.0e-4\n"  # of the class track, in scales/tiny.yaml

UNET = {"channels": [64, 128], "layers": 1, "transformers": [0, 2], "heads": [4, 4], "context": 384, "groups": 8}

EDITED = {
    # what is wrong: (file, text there, its replacement, what the message must say)
    "wrong type": (
        "scales/tiny.yaml",
        "  batch: 64\n",
        '  batch: "64"\n',
        ["scales/tiny.yaml: class.batch (line", "'64' will not do", "integer"],
    ),
    "true is no number": (
        "scales/tiny.yaml",
        "  batch: 64\n",
        "  batch: true\n",
        ["scales/tiny.yaml: class.batch", "True will not do"],
    ),
    "out of range": (
        "scales/tiny.yaml",
        LR,
        LR.replace("lr: 2.0e-4", "lr: -2e-4", 1),
        ["scales/tiny.yaml: class.lr", "-0.0002 will not do", "greater than 0"],
    ),
    "not finite": (
        "scales/tiny.yaml",
        LR,
        LR.replace("lr: 2.0e-4", "lr: .nan", 1),
        ["scales/tiny.yaml: class.lr", "'.nan' will not do"],
    ),
    "a group of one": (
        "scales/tiny.yaml",
        LR,
        LR.replace("group: 8", "group: 1"),
        ["scales/tiny.yaml: class.group (line", "1 will not do", "sit-amd", "Eq. 12", "e.g. 8"],
    ),
    "a group that does not divide the batch": (
        "scales/tiny.yaml",
        LR,
        LR.replace("group: 8", "group: 7"),
        ["scales/tiny.yaml: class.group", "7 does not divide class.batch 64"],
    ),
    "micro-batches that do not divide the batch": (
        "scales/tiny.yaml",
        "  micro_batch: 64",
        "  micro_batch: 48",
        ["scales/tiny.yaml: class.micro_batch", "48 does not divide class.batch 64"],
    ),
    "unknown domain": (
        "scales/tiny.yaml",
        "class: digits",
        "class: digit",
        ["scales/tiny.yaml: domains.class", "'digit' is no domain; did you mean 'digits'?"],
    ),
    "a domain that the scale cannot run": (
        "scales/tiny.yaml",
        "domains: {class: digits,",
        "domains: {class: imagenet,",
        ["scales/tiny.yaml: domains.class", "'imagenet' does not fit", "patches of 5"],
    ),
    "another size than that of the weights a teacher begins from": (
        "scales/tiny.yaml",
        "frequencies: 64}    # that of video",
        "frequencies: 32}    # that of video",
        ["scales/tiny.yaml: domains.i2v", "i2v.network is not video.network"],
    ),
    "stills from a first frame": (
        "scales/tiny.yaml",
        "teacher: {iterations: 400, ",
        "teacher: {iterations: 400, stills: 1, ",
        ["scales/tiny.yaml: domains.i2v", "i2v.teacher.stills: a still is its own first frame"],
    ),
    "states of a first frame that nobody encodes": (
        "scales/paper.yaml",
        ", image_context: 1280}",
        "}",
        ["scales/paper.yaml: domains.i2v", "i2v.network.image_context and the domain's image_encoder go together"],
    ),
    "no default footprint": (
        "scales/paper.yaml",
        "  default: {cpus: 4, mem_mb: 16000, runtime_min: 60}\n",
        "",
        ["scales/paper.yaml: footprints", "'default' is missing"],
    ),
    "a stage without iterations": (
        "scales/paper.yaml",
        "    ablation: 2000          # A.4, Figure 5\n",
        "",
        ["scales/paper.yaml: class.iterations", "stage 'ablation' is missing"],
    ),
    "heads that do not divide the width": (
        "scales/tiny.yaml",
        "network: {patch: 4, width: 128, depth: 4, heads: 4}",
        "network: {patch: 4, width: 128, depth: 4, heads: 5}",
        ["scales/tiny.yaml: class.network", "width 128 is not a multiple of heads 5"],
    ),
    "stills and no clips after them": (
        "scales/smoke.yaml",
        "stills: 1}",
        "stills: 99}",
        ["scales/smoke.yaml: video.teacher", "stills 99 leave none of 2 iterations for clips that move"],
    ),
    "stills of what stands still": (
        "scales/tiny.yaml",
        "label_dropout: 0.1}\n  classifier:",
        "label_dropout: 0.1, stills: 9}\n  classifier:",
        ["scales/tiny.yaml: class", "teacher.stills 9: of clips alone"],
    ),
}

SET = {
    # what is wrong: (file, key, its value or ... for none, what the message must say)
    "prompts that nobody counted": (
        "scales/tiny.yaml",
        "text.prompts.drawbench",
        ...,
        ["scales/tiny.yaml: domains.text", "text.prompts.drawbench is missing: how many of the domain's prompts"],
    ),
    "a scorer without sizes": (
        "scales/smoke.yaml",
        "text.scorers.detector",
        None,  # takes tiny's away
        ["scales/smoke.yaml: domains.text", "text.scorers.detector is missing"],
    ),
    "no small batch": (
        "scales/tiny.yaml",
        "text.small_batch",
        ...,
        ["scales/tiny.yaml: text.small_batch (line", "missing; system 'sdxl-amd-batch16' asks for it"],
    ),
    "a small batch of half a group": (
        "scales/tiny.yaml",
        "text.small_batch",
        12,
        ["scales/tiny.yaml: text.small_batch (line", "text.group 8 does not divide it (12)"],
    ),
    "a text group of one": (
        "scales/tiny.yaml",
        "text.group",
        1,
        ["scales/tiny.yaml: text.group (line", "1 will not do", "sdxl-amd", "Eq. 12"],
    ),
    "a text stage without iterations": (
        "scales/tiny.yaml",
        "text.iterations",
        {"short": 10},
        ["scales/tiny.yaml: text.iterations", "stage 'long' is missing; a system or figure runs it"],
    ),
    "blocks of a UNet that do not agree": (
        "scales/tiny.yaml",
        "text.network.transformers",
        [2],
        ["scales/tiny.yaml: text.network", "channels, transformers and heads name", "blocks, one each"],
    ),
    "heads that do not divide a block's width": (
        "scales/tiny.yaml",
        "text.network",
        UNET | {"heads": [4, 5]},
        ["scales/tiny.yaml: text.network", "channels 128 is not a multiple of heads 5 and of groups"],
    ),
    "groups that do not divide a block's width": (
        "scales/tiny.yaml",
        "text.network",
        UNET | {"groups": 7},
        ["scales/tiny.yaml: text.network", "channels 64 is not a multiple of heads 4 and of groups 7"],
    ),
    "a footprint of no rule": (
        "scales/paper.yaml",
        "footprints.destill",
        {"gpus": 8},
        ["scales/paper.yaml: footprints.destill", "'destill' is no rule", "did you mean 'distill'?"],
    ),
    "a footprint of no track": (
        "scales/paper.yaml",
        "footprints",
        {"default": {}, "distill.sdxl": {"gpus": 8}},
        [
            "scales/paper.yaml: footprints.distill.sdxl",
            "nor one of a track (distill.plane, distill.class, distill.text",
        ],
    ),
    "offloading without sharding": (
        "scales/paper.yaml",
        "footprints.distill.offload",
        True,
        ["scales/paper.yaml: footprints.distill.offload", "true is done by fsdp2; set sharding: fsdp2 beside it"],
    ),
    "shards of one track alone": (
        "scales/tiny.yaml",
        "text.sample_shards",
        4,
        ["scales/tiny.yaml: text.sample_shards", "either all tracks of a scale have their samples drawn in shards"],
    ),
}


@pytest.mark.parametrize("case", EDITED.values(), ids=EDITED.keys())
def test_what_is_wrong_is_refused_by_file_key_and_value(case: Edited, refused: Refused, edit: Edit):
    *change, said = case
    if "patches of 5" in said[-1]:  # a scale that would fit but for its patches
        edit("scales/tiny.yaml", "network: {patch: 4,", "network: {patch: 5,")
    edit(*change)
    refused(said)


@pytest.mark.parametrize("case", SET.values(), ids=SET.keys())
def test_a_value_that_will_not_do_is_refused(case: tuple[str, str, Any, list[str]], refused: Refused, put: Put):
    *change, said = case
    put(*change)
    refused(said)


def test_a_scale_without_the_text_track_cannot_have_its_domain(root: Path):
    (root / "scales/classes.yaml").write_text("extends: tiny\ntext: null\n")
    with pytest.raises(ConfigError) as refusal:
        load(root)
    assert "scales/classes.yaml: domains.text" in str(refusal.value)
    assert "'emoji' does not fit: the scale has no sizes of the text track; add text" in str(refusal.value)
    (root / "scales/classes.yaml").write_text("extends: tiny\ntext: null\ndomains: {text: null}\n")
    with pytest.raises(ConfigError, match=r"scales/classes\.yaml: domains\.text: no domain for this track"):
        load(root).run("sdxl-amd", "classes", 0)
