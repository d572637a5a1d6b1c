"""Whatever is wrong in config/ is said at load: file, key, value, and what would be right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from amd.config.load import ConfigError, load

Edit = Callable[[str, str, str], None]
Put = Callable[[str, str, Any], None]

LR = "  group: 8\n  lr: 2.0e-4\n  fake_lr: 2.0e-4\n"  # of the class track, in scales/tiny.yaml

REFUSALS = {
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
    "unknown system in a row": (
        "tables/table4.yaml",
        "system: sit-amd, printed",
        "system: sit-amdd, printed",
        ["tables/table4.yaml: rows[4]", "'sit-amdd' is no system; did you mean 'sit-amd'? known: "],
    ),
    "unknown benchmark": (
        "tables/table4.yaml",
        "title: FID, benchmark: class,",
        "title: FID, benchmark: clas,",
        ["tables/table4.yaml: columns[0].benchmark", "'clas' is no benchmark; did you mean 'class'?"],
    ),
    "a metric's name in a domain that no benchmark has": (
        "domains/emoji.yaml",
        "\n  hpsv2: EmojiAlign-A",
        "\n  hpsv: EmojiAlign-A",
        ["domains/emoji.yaml: metrics.hpsv", "'hpsv' is no metric of a benchmark of track text; did you mean 'hpsv2'?"],
    ),
    "a metric that nobody in a panel gives": (
        "benchmarks/drawbench.yaml",
        "metrics: [pickscore, hpsv2, imagereward]",
        "metrics: [pickscore, anime_hpsv2, imagereward]",
        ["benchmarks/drawbench.yaml: metrics[1]", "'anime_hpsv2' is no metric of the panel of domain 'emoji';"],
    ),
    "a win rate by who is in no panel": (
        "figures/figure9.yaml",
        "metrics: [pickscore, hpsv2, imagereward]",
        "metrics: [pickscore, hpsv3, imagereward]",
        [
            "figures/figure9.yaml: metrics[1]",
            "'hpsv3' is no member of the panel of domain 'emoji'; did you mean 'hpsv2'?",
        ],
    ),
    "a figure of a released system": (
        "figures/figure9.yaml",
        "DMDR: sdxl-dmdr",
        "DMDR: released-lcm",
        ["figures/figure9.yaml: systems.DMDR", "'released-lcm' is a released system: at some scales only quoted"],
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
    "unknown metric": (
        "tables/table4.yaml",
        "metric: sfid",
        "metric: sfidd",
        ["tables/table4.yaml: columns[1].metric", "'sfidd' is no metric of benchmark 'class'; did you mean 'sfid'?"],
    ),
    "unknown column of a printed value": (
        "tables/table4.yaml",
        '{fid: "3.5573"',
        '{fidd: "3.5573"',
        ["tables/table4.yaml: rows[2].printed.fidd", "'fidd' is no column; did you mean 'fid'?"],
    ),
    "a printed value that is a number": (
        "tables/table4.yaml",
        'fid: "3.5573"',
        "fid: 3.5573",
        ["tables/table4.yaml: rows[2].printed.fid", "3.5573 will not do", "string"],
    ),
    "unknown baseline": (
        "tables/table4.yaml",
        "baseline: DMD\n",
        "baseline: DMD1\n",
        ["tables/table4.yaml: baseline (line", "'DMD1' is no row; did you mean 'DMD'?"],
    ),
    "a metric nobody judges": (
        "benchmarks/class.yaml",
        "metrics: [fid,",
        "metrics: [fidd,",
        ["benchmarks/class.yaml: metrics[0]", "'fidd' is no metric of a domain of track class"],
    ),
    "a figure of a teacher's training": (
        "figures/figure6.yaml",
        "DMD: sit-dmd",
        "DMD: sit-teacher",
        ["figures/figure6.yaml: systems.DMD", "'sit-teacher' is a teacher; only students"],
    ),
    "a dose without its strength": (
        "figures/dose.yaml",
        "  k = 3: 3.0\n",
        "",
        ["figures/dose.yaml: options", "'k = 3' must stand in both"],
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
    "nobody to teach": (
        "domains/imagenet.yaml",
        "teacher:\n  layout: sit\n  asset:\n    file: SiT-XL-2-256x256.pt\n"
        "    license: MIT            # released with SiT (Ma et al., 2024); its download.py names the address\n",
        "",
        ["scales/paper.yaml: domains.class", "no published teacher and the scale no class.teacher"],
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
    "a chosen domain that does not exist": (
        "config.yaml",
        "domains: {}",
        "domains: {class: fashon}",
        ["config.yaml: domains.class", "'fashon' is no domain; did you mean 'fashion'?"],
    ),
    "unknown scale": ("config.yaml", "scale: tiny", "scale: tinny", ["config.yaml: scale", "did you mean 'tiny'?"]),
    "unknown goal": (
        "config.yaml",
        "tables: [table4]",
        "tables: [tabel4]",
        ["config.yaml: goals.main.tables[0]", "'tabel4' is no table; did you mean 'table4'?"],
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
    "an asset with half a checksum": (
        "domains/fashion.yaml",
        "    - file: train-images-idx3-ubyte.gz\n      sha256: b0564c",
        "    - file: train-images-idx3-ubyte.gz\n      sha256: b05",
        ["domains/fashion.yaml: data.assets[0].sha256", "will not do"],
    ),
}

UNET = {"channels": [64, 128], "layers": 1, "transformers": [0, 2], "heads": [4, 4], "context": 384, "groups": 8}

TEXT = {
    # what is wrong in the text track: (file, key, its value or ... for none, what the message must say)
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
    "nobody to teach the text track": (
        "domains/sdxl.yaml",
        "teacher",
        ...,
        ["scales/paper.yaml: domains.text", "a teacher trained here takes the scale's text.teacher and"],
    ),
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
    "a text row in a table of classes": (
        "tables/table4.yaml",
        "rows.4.system",
        "sdxl-amd",
        ["tables/table4.yaml: rows[4]", "'sdxl-amd' is a student of track text; this table is of class"],
    ),
    "a row of a scorer": (
        "tables/table7.yaml",
        "rows.1.system",
        "emoji-align-a",
        ["tables/table7.yaml: rows[1].system", "'emoji-align-a' is a scorer of track text; this table is of text"],
    ),
    "a metric of a domain that nobody can print": (
        "benchmarks/drawbench.yaml",
        "metrics",
        ["pickscoer"],
        ["benchmarks/drawbench.yaml: metrics[0]", "'pickscoer' is no metric of a domain of track text"],
    ),
}

WINS = {
    "title": "Wins",
    "caption": "Share of prompts on which a system beats another.",
    "track": "text",
    "kind": "winrate",
    "systems": {"DMD2": "sdxl-dmd2", "AMD": "sdxl-amd"},
    "baseline": "DMD2",
    "benchmarks": ["drawbench", "hpdv2"],
}


@pytest.mark.parametrize("case", TEXT.values(), ids=TEXT.keys())
def test_what_is_wrong_in_the_text_track_is_refused(case: tuple[str, str, Any, list[str]], root: Path, put: Put):
    file, key, value, said = case
    put(file, key, value)
    with pytest.raises(ConfigError) as refusal:
        load(root)
    for fragment in said:
        assert fragment in str(refusal.value)


def test_a_scale_without_the_text_track_cannot_have_its_domain(root: Path):
    (root / "scales/classes.yaml").write_text("extends: tiny\ntext: null\n")
    with pytest.raises(ConfigError) as refusal:
        load(root)
    assert "scales/classes.yaml: domains.text" in str(refusal.value)
    assert "'emoji' does not fit: the scale has no sizes of the text track; add text" in str(refusal.value)
    (root / "scales/classes.yaml").write_text("extends: tiny\ntext: null\ndomains: {text: null}\n")
    with pytest.raises(ConfigError, match=r"scales/classes\.yaml: domains\.text: no domain for this track"):
        load(root).run("sdxl-amd", "classes", 0)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("baseline", None, "baseline: None is no title in systems; known: AMD, DMD2"),
        ("baseline", "DMD", "baseline (line 8): 'DMD' is no title in systems; did you mean 'DMD2'?"),
        ("benchmarks", [], "benchmarks (line 9): missing; a figure of kind 'winrate' counts wins on their prompts"),
        (
            "benchmarks",
            ["drawbanch"],
            "benchmarks[0] (line 10): 'drawbanch' is no benchmark; did you mean 'drawbench'?",
        ),
        ("systems", {}, "systems (line 5): missing; a figure of kind 'winrate' shows systems"),
        ("systems", {"DMD2": "sit-dmd2"}, "'sit-dmd2' is of track class; this figure is of text"),
    ],
)
def test_a_figure_of_wins_names_its_baseline_and_its_prompts(root: Path, key: str, value: Any, said: str):
    file = root / "figures/wins.yaml"
    file.write_text(yaml.safe_dump(WINS, sort_keys=False))
    load(root)
    content = {**WINS, key: value}
    file.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
    with pytest.raises(ConfigError) as refusal:
        load(root)
    assert "figures/wins.yaml: " in str(refusal.value)
    assert said in str(refusal.value)


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS.keys())
def test_what_is_wrong_is_refused_by_file_key_and_value(case: tuple[str, str, str, list[str]], root: Path, edit: Edit):
    file, old, new, said = case
    if "patches of 5" in said[-1]:  # a scale that would fit but for its patches
        edit("scales/tiny.yaml", "network: {patch: 4,", "network: {patch: 5,")
    edit(file, old, new)
    with pytest.raises(ConfigError) as refusal:
        load(root)
    for fragment in said:
        assert fragment in str(refusal.value)


def test_the_line_is_the_one_of_the_value(root: Path, edit: Edit):
    edit("systems/sit-amd.yaml", "  s: 0.5\n", "  # a comment\n\n  s: 1.5\n")
    line = (root / "systems/sit-amd.yaml").read_text().split("\n").index("  s: 1.5") + 1
    with pytest.raises(ConfigError, match=rf"systems/sit-amd\.yaml: numbers\.s \(line {line}\)"):
        load(root)


def test_a_value_that_was_inherited_is_shown_where_it_stands(root: Path, edit: Edit):
    edit("systems/sit-warm-short.yaml", "cfg_weight: 1.5", "cfg_weight: 0.5")
    with pytest.raises(ConfigError) as refusal:
        load(root)
    inherited = [line for line in refusal.value.problems if "systems/sit-amd.yaml: cfg_weight" in line]
    assert len(inherited) == 1
    assert "systems/sit-warm-short.yaml, line" in inherited[0]


def test_one_mistake_does_not_hide_another(root: Path, edit: Edit):
    edit("systems/sit-amd.yaml", "  s: 0.5\n", "  s: 1.5\n")
    edit("scales/tiny.yaml", LR, LR.replace("group: 8", "group: 0"))
    edit("domains/digits.yaml", "classes: 10", "classes: ten")
    with pytest.raises(ConfigError) as refusal:
        load(root)
    for file in ("systems/sit-amd.yaml", "scales/tiny.yaml", "domains/digits.yaml"):
        assert file in str(refusal.value)


def test_an_error_is_a_value_error():
    assert issubclass(ConfigError, ValueError)  # what a user wrote, not what we promised ourselves


def test_a_folder_without_config_says_where_to_stand(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config\.yaml: no such file; run from the repository's root"):
        load(tmp_path)


def test_an_anchor_that_holds_itself_ends(root: Path):
    (root / "tables/table4.yaml").write_text("rows: &all [*all]\n")
    with pytest.raises(ConfigError, match="an anchor may hold itself"):
        load(root)


@pytest.mark.parametrize(("text", "value"), [("2e-5", 2e-5), ("1.5e-3", 1.5e-3), (".5", 0.5), ("1", 1.0)])
def test_numbers_are_read_as_they_look(root: Path, edit: Edit, text: str, value: float):
    edit("scales/tiny.yaml", LR, LR.replace("lr: 2.0e-4", f"lr: {text}", 1))
    assert load(root).scales["tiny"].klass.lr == value


@pytest.mark.parametrize("word", ["on", "no", "yes", "2024-01-01"])
def test_words_stay_words(root: Path, edit: Edit, word: str):
    edit("systems/sit-amd.yaml", "title: AMD\n", f"title: {word}\n")
    assert load(root).systems["sit-amd"].title == word


def test_unknown_names_at_run_time_list_the_known(root: Path):
    library = load(root)
    with pytest.raises(ConfigError, match="'sit-amdd' is no system; did you mean 'sit-amd'"):
        library.run("sit-amdd", "tiny", 0)
    with pytest.raises(ConfigError, match="'tinny' is no scale; did you mean 'tiny'"):
        library.run("sit-amd", "tinny", 0)
    with pytest.raises(ConfigError, match="its stage is 'finetune'; it has no 'long'"):
        library.run("sit-amd", "tiny", 0, "long")
    with pytest.raises(ConfigError, match="a teacher has no stage 'ablation'"):
        library.run("sit-teacher", "tiny", 0, "ablation")


def test_a_chosen_domain_replaces_the_scales(root: Path, edit: Edit):
    edit("config.yaml", "domains: {}", "domains: {class: fashion}")
    library = load(root)
    assert library.run("sit-amd", "tiny", 0).domain.name == "fashion"
    assert library.run("sit-amd", "tiny", 0).judge.name == "fashion-judge"
