"""What is wrong in domains: codecs, prompts, panels, scorers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amd.config.load import load

Edit = Callable[[str, str, str], None]
Put = Callable[[str, str, Any], None]
Refused = Callable[[list[str]], None]
Edited = tuple[str, str, str, list[str]]

EDITED = {
    # what is wrong: (file, text there, its replacement, what the message must say)
    "no reward": (
        "domains/digits.yaml",
        "reward: {name: classifier, system: digits-reward}\n",
        "",
        ["domains/digits.yaml: reward: missing", "AMD, naive, DMDR", "system: digits-reward"],
    ),
    "a reward from nowhere": (
        "domains/digits.yaml",
        "reward: {name: classifier, system: digits-reward}",
        "reward: {name: classifier}",
        ["domains/digits.yaml: reward (line", "either a system (trained here) or assets"],
    ),
    "the judge is the reward": (
        "domains/digits.yaml",
        "system: digits-judge",
        "system: digits-reward",
        ["domains/digits.yaml: judge.system", "'digits-reward' is the training reward too"],
    ),
    "a reward that is a student": (
        "domains/digits.yaml",
        "system: digits-reward",
        "system: sit-dmd",
        ["domains/digits.yaml: reward.system", "'sit-dmd' is a student of track class; a classifier"],
    ),
    "a metric's name in a domain that no benchmark has": (
        "domains/emoji.yaml",
        "\n  hpsv2: EmojiAlign-A",
        "\n  hpsv: EmojiAlign-A",
        ["domains/emoji.yaml: metrics.hpsv", "'hpsv' is no metric of a benchmark of track text; did you mean 'hpsv2'?"],
    ),
    "a reward by a package": (
        "domains/sdxl.yaml",
        "  settings: {version: v2.1} # ours",
        "  scorer: package\n  settings: {version: v2.1} # ours",
        ["domains/sdxl.yaml: reward.scorer", "a panel alone may ask for it"],
    ),
    "a package that is none": (
        "domains/sdxl.yaml",
        "    name: pickscore\n",
        "    name: pickscore\n    scorer: package\n",
        [
            "domains/sdxl.yaml: panel.pickscore.scorer",
            "'pickscore' is no scorer with a package; known: hpsv2, imagereward",
        ],
    ),
    "nobody to teach": (
        "domains/imagenet.yaml",
        "teacher:\n  layout: sit\n  asset:\n    file: SiT-XL-2-256x256.pt\n"
        "    license: MIT            # released with SiT (Ma et al., 2024); its download.py names the address\n",
        "",
        ["scales/paper.yaml: domains.class", "no published teacher and the scale no class.teacher"],
    ),
    "an asset with half a checksum": (
        "domains/fashion.yaml",
        "    - file: train-images-idx3-ubyte.gz\n      sha256: b0564c",
        "    - file: train-images-idx3-ubyte.gz\n      sha256: b05",
        ["domains/fashion.yaml: data.assets[0].sha256", "will not do"],
    ),
}

SET = {
    "latents that the shuffle does not make": (
        "domains/clips.yaml",
        "latents",
        [48, 6],
        [
            "domains/clips.yaml: latents (line",
            "the latents are (48, 3, 6, 12); this shuffle makes (48, 3, 12, 12)",
        ],
    ),
    "frames that do not fill latent ones": (
        "domains/clips.yaml",
        "clip.frames",
        10,
        [
            "domains/clips.yaml: autoencoder (line",
            "10 frames of 24 x 24 do not fit: 1 frame alone, then 4 in a latent one",
        ],
    ),
    "frames of pictures": (
        "domains/emoji.yaml",
        "autoencoder.frames",
        4,
        ["domains/emoji.yaml: autoencoder.frames", "4; a picture is one, leave it out"],
    ),
    "frames of an autoencoder that knows its own": (
        "domains/wan.yaml",
        "autoencoder.frames",
        4,
        ["domains/wan.yaml: autoencoder", "a wan has no shift and no frames"],
    ),
    # what is wrong: (file, key, its value or ... for none, what the message must say)
    "no encoder": (
        "domains/emoji.yaml",
        "encoder",
        ...,
        ["scales/tiny.yaml: domains.text", "'emoji' does not fit", "has an encoder and prompts.train; add both"],
    ),
    "no prompts to train on": (
        "domains/emoji.yaml",
        "prompts.train",
        ...,
        ["scales/tiny.yaml: domains.text", "has an encoder and prompts.train; add both"],
    ),
    "a benchmark without prompts": (
        "domains/emoji.yaml",
        "prompts.geneval",
        ...,
        ["domains/emoji.yaml: prompts (line", "geneval is missing; metrics of that benchmark are named here"],
    ),
    "a reward that takes clips to be slower than they are": (
        "domains/wan.yaml",
        "reward.settings",
        {"fps": 8},
        [
            "domains/wan.yaml: reward.settings.fps (line",
            "videoalign takes clips to have 8 frames per second; clip.fps is 16",
        ],
    ),
    "short prompts that are said to be extended": (
        "domains/wan.yaml",
        "prompts.vbench.variant",
        "extended",
        [
            "domains/wan.yaml: prompts.vbench.variant (line",
            "'extended', but the texts of 'vbench-still' (vbench/VBench_full_info.json) are the short ones: say ",
            "short, or add the .txt of extended ones as second asset",
        ],
    ),
    "extended prompts of which nothing is said": (
        "domains/wan.yaml",
        "prompts.vbench",
        {"source": "vbench", "assets": [{"file": "a.json"}, {"file": "a.txt"}]},
        [
            "domains/wan.yaml: prompts.vbench",
            "missing; the texts of 'vbench' (a.json, a.txt) are the extended ones: say extended, or take the second",
        ],
    ),
    "a rewritten prompt of which nothing is said": (
        "domains/wan.yaml",
        "prompts.videogen-eval.variant",
        ...,
        [
            "domains/wan.yaml: prompts.videogen-eval",
            "missing; the texts of 'videoalign-csv'",
            "say extended, or source: videoalign-csv-shorter",
        ],
    ),
    "a rewritten prompt that is said to be short": (
        "domains/wan.yaml",
        "prompts.videogen-eval.variant",
        "short",
        ["'short', but the texts of 'videoalign-csv'", "are the extended ones"],
    ),
    "a short prompt that is said to be rewritten": (
        "domains/wan.yaml",
        "prompts.videogen-eval.source",
        "videoalign-csv-shorter",
        ["'extended', but the texts of 'videoalign-csv-shorter'", "say short, or source: videoalign-csv"],
    ),
    "a variant of a source that has none": (
        "domains/wan.yaml",
        "prompts.train.variant",
        "extended",
        ["domains/wan.yaml: prompts.train.variant", "'lines' has no variants, leave it out; vbench, vbench-still, "],
    ),
    "a variant that is none": (
        "domains/wan.yaml",
        "prompts.vbench.variant",
        "long",
        ["domains/wan.yaml: prompts.vbench.variant", "'long' is no choice; known: extended, short"],
    ),
    "a dimension that is left out and is none": (
        "domains/wan-i2v.yaml",
        "panel.vbench-i2v.settings.without",
        "camera_motion i2v_bakground",
        [
            "domains/wan-i2v.yaml: panel.vbench-i2v.settings.without (line",
            "'i2v_bakground' is no dimension of vbench-i2v",
        ],
    ),
    "a setting that VBench's package does not have": (
        "domains/wan.yaml",
        "panel.vbench.settings.stil",
        5,
        ["panel.vbench.settings.stil (line", "'stil' is no setting of vbench; did you mean 'still'?"],
    ),
    "no still clip": (
        "domains/wan.yaml",
        "panel.vbench.settings.still",
        0,
        ["domains/wan.yaml: panel.vbench.settings.still (line", "0; say how many of a prompt's clips"],
    ),
    "still clips where flickering is not measured": (
        "domains/wan-i2v.yaml",
        "panel.vbench-i2v.settings.still",
        5,
        ["panel.vbench-i2v.settings.still", "of temporal_flickering alone, which vbench-i2v does not have"],
    ),
    "clips at another rate than their judge's": (
        "domains/wan.yaml",
        "clip.fps",
        24,
        ["domains/wan.yaml: panel.videoalign.settings.fps", "have 16 frames per second; clip.fps is 24"],
    ),
    "no panel": (
        "domains/emoji.yaml",
        "panel",
        ...,
        ["domains/emoji.yaml: panel: missing; it says who judges the images of each benchmark"],
    ),
    "a panel of an unknown system": (
        "domains/emoji.yaml",
        "panel.geneval.system",
        "sprite-detectr",
        ["domains/emoji.yaml: panel.geneval.system", "'sprite-detectr' is no system; did you mean 'sprite-detector'?"],
    ),
    "a panel of a classifier": (
        "domains/emoji.yaml",
        "panel.pickscore.system",
        "digits-judge",
        ["panel.pickscore.system", "'digits-judge' is a classifier of track class; a scorer of track text belongs"],
    ),
    "a member of the panel that is trained here and published": (
        "domains/emoji.yaml",
        "panel.hpsv2.assets",
        [{"file": "hps.pt"}],
        ["domains/emoji.yaml: panel.hpsv2 (line", "either a system (trained here) or assets (published), and not both"],
    ),
    "a text reward from nowhere": (
        "domains/emoji.yaml",
        "reward.system",
        ...,
        ["domains/emoji.yaml: reward (line", "either a system (trained here) or assets (published)"],
    ),
    "a kl autoencoder without its file": (
        "domains/emoji.yaml",
        "autoencoder",
        {"kind": "kl", "scaling": 0.18215},
        [
            "domains/emoji.yaml: autoencoder (line",
            "a kl and a wan have an asset and no factor, a shuffle a factor and no asset",
        ],
    ),
    "a shuffle with a file": (
        "domains/emoji.yaml",
        "autoencoder.asset",
        {"file": "vae.safetensors"},
        ["domains/emoji.yaml: autoencoder (line", "a shuffle a factor and no asset"],
    ),
    "guidance that is none": (
        "domains/emoji.yaml",
        "cfg_weight",
        0.5,
        ["domains/emoji.yaml: cfg_weight", "0.5 will not do", "1 is no guidance"],
    ),
    "an odd side": (
        "domains/emoji.yaml",
        "latents",
        [48, 9],
        ["scales/tiny.yaml: domains.text", "latents of side 9 cannot be halved"],
    ),
    "nobody to teach the text track": (
        "domains/sdxl.yaml",
        "teacher",
        ...,
        ["scales/paper.yaml: domains.text", "a teacher trained here takes the scale's text.teacher and"],
    ),
}


def test_short_prompts_need_not_be_said_to_be_so(put: Put, root: Path):
    """Nothing longer lies beside them: a domain without the key is no other domain than it was."""
    put("domains/wan.yaml", "prompts.vbench.variant", ...)
    put("domains/wan.yaml", "prompts.ta-hard.source", "videoalign-csv-zh")
    put("domains/wan.yaml", "prompts.ta-hard.variant", ...)
    assert load(root).domains["wan"].prompts["vbench"].variant is None


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
