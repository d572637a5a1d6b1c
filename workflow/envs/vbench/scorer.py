"""VBench and VBench-I2V by their own package, a dimension at a time (`amd.measure.isolated_clips` asks for each).

What is needed lies where VBench looks for it: its caches are a folder of links to the given files, and so is the folder
that it runs in, so nothing is fetched. object_class, multiple_objects, color and spatial_relationship need detectron2
besides, which no package index has: a site that wants them builds it for this torch into the finished environment,

    .envs/vbench/bin/python -m pip install --no-build-isolation --no-deps \
        git+https://github.com/facebookresearch/detectron2@<commit>

and otherwise names these dimensions in the panel's `settings: {without: ...}`. VBench-I2V's camera_motion (CoTracker2
by torch.hub) and i2v_background (DreamSim) are not measured here.
"""

import argparse
import contextlib
import importlib
import importlib.util
import json
import os
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DINO = {
    "dino_vitbase16_pretrain.pth": "torch/hub/checkpoints/dino_vitbase16_pretrain.pth",
    "hubconf.py": "torch/hub/facebookresearch_dino_main/hubconf.py",
    "vision_transformer.py": "torch/hub/facebookresearch_dino_main/vision_transformer.py",
    "utils.py": "torch/hub/facebookresearch_dino_main/utils.py",
}
B32, L14 = "clip/ViT-B-32.pt", "clip/ViT-L-14.pt"
WORDS = {"vocab.txt": "bert-base-uncased/vocab.txt"}  # which transformers finds by that name where we stand
GRIT = {"grit_b_densecap_objectdet.pth": "vbench/grit_model/grit_b_densecap_objectdet.pth", **WORDS}
DETECTED = ("object_class", "multiple_objects", "color", "spatial_relationship")
BUILT = dict.fromkeys(DETECTED, "detectron2")
"""Dimension -> a package that it needs and that a site has to build into the environment."""
VICLIP = {
    "ViClip-InternVid-10M-FLT.pth": "vbench/ViCLIP/ViClip-InternVid-10M-FLT.pth",
    "bpe_simple_vocab_16e6.txt.gz": "vbench/ViCLIP/bpe_simple_vocab_16e6.txt.gz",
}
RAFT = {"raft-things.pth": "vbench/raft_model/models/raft-things.pth"}
FILTER = "static_filter"  # no dimension: which clips temporal_flickering looks at
FILES: dict[str, dict[str, str]] = {
    "subject_consistency": DINO,
    "background_consistency": {"ViT-B-32.pt": B32},
    "temporal_flickering": {},
    "motion_smoothness": {"amt-s.pth": "vbench/amt_model/amt-s.pth"},
    "dynamic_degree": RAFT,
    FILTER: RAFT,
    "aesthetic_quality": {
        "ViT-L-14.pt": L14,
        "sa_0_4_vit_l_14_linear.pth": "vbench/aesthetic_model/emb_reader/sa_0_4_vit_l_14_linear.pth",
    },
    "imaging_quality": {"musiq_spaq_ckpt-358bb6af.pth": "vbench/pyiqa_model/musiq_spaq_ckpt-358bb6af.pth"},
    **dict.fromkeys(DETECTED, GRIT),
    "human_action": {
        "l16_ptk710_ftk710_ftk400_f16_res224.pth": "vbench/umt_model/l16_ptk710_ftk710_ftk400_f16_res224.pth"
    },
    "scene": {
        "tag2text_swin_14m.pth": "vbench/caption_model/tag2text_swin_14m.pth",
        "model.safetensors": "bert-base-uncased/model.safetensors",  # its own weights are read over these
        **WORDS,
    },
    "appearance_style": {"ViT-B-32.pt": B32},
    "temporal_style": VICLIP,
    "overall_consistency": VICLIP,
    "i2v_subject": DINO,
}
"""Dimension -> name of a file it reads -> its place in the folder of links."""
I2V = ("i2v_subject",)
PERCENT = ("imaging_quality",)  # per video in [0, 100], unlike its mean


def needs(dimension: str) -> list[str]:
    """Names of the files that a dimension reads. SystemExit for one that this environment does not measure."""
    if dimension not in FILES:
        raise SystemExit(f"dimension {dimension} is not measured here; these are: {', '.join(FILES)}")
    return list(FILES[dimension])


def score(asked: Mapping[str, Any]) -> tuple[list[dict[str, float | None]], str]:
    """Per sample {dimension: value or None}, and how it was measured."""
    dimension = asked["dimension"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link(asked["files"], FILES[dimension], folder)
        os.environ |= {"VBENCH_CACHE_DIR": str(folder / "vbench"), "TORCH_HOME": str(folder / "torch")}
        videos = named(asked["samples"], dimension, folder / "videos")
        info = folder / "full_info.json"
        info.write_text(json.dumps(full_info(asked["samples"], videos, dimension)))
        with contextlib.chdir(folder):
            found = measured(dimension, info, asked["device"], folder)
    return in_order(found, videos, dimension), f"vbench-0.1.5 {dimension}"


def link(files: Mapping[str, str], places: Mapping[str, str], folder: Path) -> None:
    """Each file where the package looks for it."""
    for name, place in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).symlink_to(files[name])


def named(samples: Sequence[Mapping[str, Any]], dimension: str, folder: Path) -> list[str]:
    """A link to each video, called by its index.

    Human actions are read from names: there a label of Kinetics-400 goes before. SystemExit where the prompt has none.
    """
    folder.mkdir(parents=True)
    labels = kinetics() if dimension == "human_action" else frozenset()
    paths = []
    for sample in samples:
        name = f"{sample['index']:06d}.mp4"
        if dimension == "human_action":
            label = sample["prompt"].lower().split("person is ")[-1]
            if label not in labels:  # which is a closed list, so no words of anybody's get into a path
                raise SystemExit(f"sample {sample['index']}: its prompt names no action of Kinetics-400")
            name = f"{label}-{name}"
        (folder / name).symlink_to(sample["video"])
        paths.append(str(folder / name))
    return paths


def kinetics() -> frozenset[str]:
    """The labels that the network of human actions knows."""
    spec = importlib.util.find_spec("vbench")
    if spec is None or spec.origin is None:
        raise SystemExit("vbench is not installed in this environment")
    file = Path(spec.origin).parent / "third_party" / "umt" / "kinetics_400_categories.txt"
    return frozenset(line.split("\t")[0].strip().lower() for line in file.read_text().splitlines())


def full_info(samples: Sequence[Mapping[str, Any]], videos: Sequence[str], dimension: str) -> list[dict[str, Any]]:
    """VBench's list of prompts, with our own paths; prompts stand in it and nowhere else."""
    entries = []
    for sample, video in zip(samples, videos, strict=True):
        entry: dict[str, Any] = {"prompt_en": sample["prompt"], "dimension": [dimension], "video_list": [video]}
        if "auxiliary_info" in sample["row"]:
            entry["auxiliary_info"] = sample["row"]["auxiliary_info"]
        if "picture" in sample:
            entry["image_name"] = sample["picture"]  # absolute, so the root that is joined before it has no say
        entries.append(entry)
    return entries


def measured(dimension: str, info: Path, device: str, folder: Path) -> list[dict[str, Any]]:
    """VBench's own loop over the videos, in one process: what it says of each."""
    import torch

    if dimension == FILTER:
        return still(info, device, folder)
    package = "vbench2_beta_i2v" if dimension in I2V else "vbench"
    utils = importlib.import_module(f"{package}.utils")
    offline(utils, folder)
    submodules = utils.init_submodules([dimension])[dimension]
    module = importlib.import_module(f"{package}.{dimension}")
    with torch.no_grad():
        _, found = getattr(module, f"compute_{dimension}")(str(info), torch.device(device), submodules)
    return found


def still(info: Path, device: str, folder: Path) -> list[dict[str, Any]]:
    """Whether each video stands still, as the package's own filter says it."""
    from vbench.cli import static_filter

    static_filter.DEVICE = device  # a constant there
    weights = str(folder / RAFT["raft-things.pth"])
    options = argparse.Namespace(model=weights, small=False, mixed_precision=False, alternate_corr=False)
    found = static_filter.StaticFilter(options, device)
    videos = [video for entry in json.loads(info.read_text()) for video in entry["video_list"]]
    return [{"video_path": video, "video_results": found.infer(video)} for video in videos]


def offline(utils: types.ModuleType, folder: Path) -> None:
    """No download where a file is missing, and OpenAI's CLIP from the folder of links rather than the user's cache."""

    def refuse(command: Sequence[str], **_: Any) -> None:
        raise SystemExit(f"vbench wants to fetch something: {' '.join(map(str, command))}")

    utils.subprocess = types.SimpleNamespace(run=refuse)
    if (folder / "clip").is_dir():
        import clip

        load = clip.load
        places = {"ViT-B/32": folder / B32, "ViT-L/14": folder / L14}
        clip.load = lambda name, *args, **kwargs: load(str(places.get(name, name)), *args, **kwargs)


def in_order(
    found: Sequence[Mapping[str, Any]], videos: Sequence[str], dimension: str
) -> list[dict[str, float | None]]:
    """What VBench says by path -> per sample; None where it leaves a video out, as colour does without the object."""
    said = {row["video_path"]: float(row["video_results"]) for row in found}
    if strangers := set(said) - set(videos):
        raise SystemExit(f"vbench speaks of {sorted(strangers)[0]}, which it was not given")
    scale = 100 if dimension in PERCENT else 1
    return [{dimension: said[path] / scale if path in said else None} for path in videos]
