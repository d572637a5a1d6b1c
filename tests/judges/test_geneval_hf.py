"""GenEval-HF: its pipeline on hand-made logits, on transformers' own post-processing, and on a small random network."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from amd.measure import geneval_hf
from amd.measure.geneval import COLOURS
from amd.measure.geneval_hf import NAMES, Colours, Mask2Former, detections, prepared
from amd.rewards.detection import Detection

SMALL = {
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "num_queries": 7,
}
SWIN = {
    "model_type": "swin",
    "image_size": 32,
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}


def network_folder(folder: Path, classes: int = 80) -> Path:
    """A small random Mask2Former as transformers saves it."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation

    torch.manual_seed(0)
    config = Mask2FormerConfig(backbone_config=SWIN, num_labels=classes, **SMALL)
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_name(tmp_path_factory) -> str:
    """A small CLIP in open_clip's catalogue."""
    import open_clip

    file = tmp_path_factory.mktemp("open_clip") / "ViT-colours-test.json"
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    sight = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    file.write_text(json.dumps({"embed_dim": 16, "vision_cfg": sight, "text_cfg": text}))
    open_clip.add_model_config(file)
    return file.stem


@pytest.fixture(scope="module")
def files(tmp_path_factory, clip_name) -> list[Path]:
    """What a domain's assets name: two of the detector, one of CLIP."""
    import open_clip

    folder = network_folder(tmp_path_factory.mktemp("mask2former"))
    torch.manual_seed(1)
    torch.save(open_clip.create_model(clip_name).state_dict(), folder / "clip.pt")
    return [folder / name for name in ("config.json", "model.safetensors", "clip.pt")]


def rectangles(side: int, *boxes: tuple[int, int, int, int]) -> Tensor:
    """Mask logits (n, side, side): 6 within, -6 outside."""
    logits = torch.full((len(boxes), side, side), -6.0)
    for mask, (x0, y0, x1, y1) in zip(logits, boxes, strict=True):
        mask[y0:y1, x0:x1] = 6.0
    return logits


def test_the_names_are_genevals():
    assert len(set(NAMES)) == 80
    assert (NAMES[0], NAMES[3], NAMES[64], NAMES[79]) == ("person", "motorcycle", "computer mouse", "toothbrush")


def test_boxes_and_scores_of_known_masks():
    classes = torch.full((2, 81), -20.0)
    classes[0, 47], classes[1, 2] = 20.0, 20.0  # apple, car
    found, masks = detections(classes, rectangles(64, (8, 16, 24, 40), (40, 8, 60, 30)), (64, 64), (64, 64), (64, 64))
    best = {each.class_name: each for each in found[:2]}
    assert best["apple"].box == (8, 16, 24, 40)  # one pixel beyond the last
    assert best["car"].box == (40, 8, 60, 30)
    inside = torch.tensor(6.0).sigmoid()
    assert best["apple"].score == pytest.approx(float(inside), abs=1e-6)
    assert masks.shape == (100, 64, 64)


def test_boxes_are_in_the_images_own_pixels_and_padding_is_cut_off():
    """An input of 64 x 96 of which 64 x 80 is image, of an image of 128 x 160."""
    classes = torch.full((1, 81), -20.0)
    classes[0, 0] = 20.0
    logits = torch.full((1, 64, 96), -6.0)
    logits[0, 16:32, 40:] = 6.0  # reaches into the padding
    found, _ = detections(classes, logits, (64, 96), (64, 80), (128, 160))
    x0, y0, x1, y1 = found[0].box
    assert (x0, y0, x1, y1) == pytest.approx((80, 32, 160, 64), abs=1)  # where the logit crosses zero between pixels


def test_an_empty_mask_has_no_box_and_no_score():
    found, _ = detections(torch.zeros(1, 81), torch.full((1, 8, 8), -6.0), (32, 32), (32, 32), (32, 32))
    assert {each.box for each in found} == {(0.0, 0.0, 0.0, 0.0)}
    assert {each.score for each in found} == {0.0}


def test_scores_are_transformers_own_where_the_sizes_are_theirs():
    """Its post-processing upsamples to 384, takes as many candidates as queries, and rounds to six digits."""
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentationOutput as Output

    transformers = pytest.importorskip("transformers")
    draw = torch.Generator().manual_seed(0)
    classes, masks = torch.randn(100, 81, generator=draw), torch.randn(100, 24, 24, generator=draw)
    output = Output(class_queries_logits=classes[None], masks_queries_logits=masks[None])
    theirs = transformers.Mask2FormerImageProcessorPil().post_process_instance_segmentation(output, threshold=0.0)
    ours, _ = detections(classes, masks, (384, 384), (384, 384), (384, 384))
    expected = sorted((each["score"], NAMES[each["label_id"]]) for each in theirs[0]["segments_info"])
    assert len(expected) == 100
    assert [score for score, _ in sorted((each.score, each.class_name) for each in ours)] == pytest.approx(
        [score for score, _ in expected], abs=1e-5
    )
    assert sorted(each.class_name for each in ours) == sorted(name for _, name in expected)


@pytest.mark.parametrize(
    ("height", "width", "shown", "seen"),
    [(1024, 1024, (800, 800), (800, 800)), (480, 640, (800, 1067), (800, 1088)), (300, 900, (444, 1333), (448, 1344))],
)
def test_images_are_resized_and_padded_as_mmdet_does(height, width, shown, seen):
    x, size = prepared(torch.full((3, height, width), 255.0))
    assert size == shown
    assert x.shape[1:] == seen
    white = [(255 - m) / s for m, s in zip(geneval_hf.MEAN, geneval_hf.STD, strict=True)]
    grey = [(128 - m) / s for m, s in zip(geneval_hf.MEAN, geneval_hf.STD, strict=True)]
    assert x[:, 0, 0].tolist() == pytest.approx(white, abs=1e-5)
    if seen != shown:
        assert x[:, -1, -1].tolist() == pytest.approx(grey, abs=1e-5)  # padded before it is normalised


def test_a_whole_image_through_small_random_networks(files, clip_name, monkeypatch):
    monkeypatch.setattr(geneval_hf, "SHORT", 64)
    monkeypatch.setattr(geneval_hf, "kept", lambda found, tag, rules: {"all": list(found)[:5]})  # random: all are weak
    detector = Mask2Former(files, "cpu", clip=clip_name)
    pixels = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = detector(pixels, ["a", "b"])
    assert len(found) == 2
    for image in found:
        assert len(image) == 5
        for each in image:
            assert each.class_name in NAMES
            assert 0 <= each.score <= 1
            assert 0 <= each.box[0] <= each.box[2] <= 64
            assert 0 <= each.box[1] <= each.box[3] <= 48
            assert each.colour in COLOURS or each.box == (0, 0, 0, 0)
    assert len(detector.revision) == 64
    again = detector(pixels[1:])
    assert again[0] == found[1]  # an image does not depend on its neighbours


def test_a_colour_is_that_of_the_object_alone(files, clip_name):
    """What is outside the mask is grey, whatever it was."""
    detector = Mask2Former(files, "cpu", clip=clip_name)
    one = torch.randint(0, 256, (3, 40, 40), generator=torch.Generator().manual_seed(0)).float()
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[5:30, 10:35] = True
    mask[10:20, 15:30] = False
    other = torch.where(mask, one, 255 - one)
    asked = [(Detection("apple", 0.9, (10.0, 5.0, 35.0, 30.0)), mask)]
    seen: list[Tensor] = []
    look = detector.clip.look
    detector.clip.look = lambda images: (seen.append(images), look(images))[1]  # type: ignore[method-assign]
    assert detector.colours(one, asked) == detector.colours(other, asked)
    assert torch.equal(seen[0], seen[1])


def test_the_classifier_is_the_renormalised_mean_of_three_templates(files, clip_name):
    clip = Mask2Former(files, "cpu", clip=clip_name).clip
    found = Colours(clip)._classifier("hot dog")
    for colour, vector in zip(COLOURS, found, strict=True):
        texts = [
            f"a photo of a {colour} hot dog",
            f"a photo of a {colour}-colored hot dog",
            f"a photo of a {colour} object",
        ]
        mean = clip.read(texts).mean(0)
        assert torch.allclose(vector, mean / mean.norm(), atol=1e-6)


def test_a_panoptic_network_is_refused(tmp_path, files, clip_name):
    folder = network_folder(tmp_path, classes=133)
    with pytest.raises(ValueError, match=r"config\.json: 133 classes; COCO's instances have 80"):
        Mask2Former([folder / "config.json", folder / "model.safetensors", files[2]], "cpu", clip=clip_name)


def test_missing_files_are_named(files, clip_name):
    with pytest.raises(ValueError, match=r"it was given \['config.json', 'clip.pt'\]"):
        Mask2Former([files[0], files[2]], "cpu", clip=clip_name)
