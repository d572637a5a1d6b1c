"""The encoders of Stable Diffusion against diffusers' own pipelines, from folders as saved and as published."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from amd.backbones.text import TextEncoder, encode_once, text_encoder

TEXTS = (
    "a photo of a bench",
    "",
    "Ein „Café“ — naïve, 3½ $5!!  two  spaces",
    "two red apples left of a green book, " * 12,  # more than 77 tokens
)


@pytest.fixture(scope="module")
def sd15_folder(sd15_pipeline, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sd15")
    sd15_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sdxl_folder(sdxl_pipeline, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    sdxl_pipeline.save_pretrained(folder)
    return folder


def published(saved: Path, out: Path, vocabulary: Path) -> list[Path]:
    """The same files in the layout of the published repositories: older key names, tokenizers as vocab and merges."""
    for tower in saved.glob("text_encoder*"):
        (out / tower.name).mkdir()
        weights = load_file(tower / "model.safetensors")
        weights = {key if key.startswith("text_") else f"text_model.{key}": value for key, value in weights.items()}
        weights["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(weights, out / tower.name / "model.safetensors")
        (out / tower.name / "config.json").write_text((tower / "config.json").read_text())
    for words in saved.glob("tokenizer*"):
        (out / words.name).mkdir()
        for name in ("vocab.json", "merges.txt"):
            (out / words.name / name).write_text((vocabulary / name).read_text())
        pad = "!" if words.name.endswith("_2") else "<|endoftext|>"
        content = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": pad}
        (out / words.name / "special_tokens_map.json").write_text(json.dumps(content))
    return [file for file in out.rglob("*") if file.is_file()]


def test_sd15_is_the_pipeline_s_encode_prompt(sd15_pipeline, sd15_folder):
    encoder = text_encoder("sd15", sd15_folder, "cpu", side=512)
    assert isinstance(encoder, TextEncoder)
    prompt, negative = sd15_pipeline.encode_prompt(list(TEXTS), "cpu", 1, True)
    assert torch.equal(encoder(TEXTS)["tokens"], prompt)
    assert torch.equal(encoder.null(len(TEXTS))["tokens"], negative[:1].expand_as(negative))
    assert encoder(TEXTS)["tokens"].shape == (4, 77, 32)


def test_sdxl_is_the_pipeline_s_encode_prompt(sdxl_pipeline, sdxl_folder):
    encoder = text_encoder("sdxl", sdxl_folder, "cpu", side=1024)
    assert isinstance(encoder, TextEncoder)
    prompt, negative, pooled, negative_pooled = sdxl_pipeline.encode_prompt(
        list(TEXTS), do_classifier_free_guidance=True
    )
    cond, null = encoder(TEXTS), encoder.null(len(TEXTS))
    assert torch.equal(cond["tokens"], prompt)
    assert torch.equal(cond["pooled"], pooled)
    assert torch.equal(null["tokens"], negative)
    assert torch.equal(null["pooled"], negative_pooled)
    assert not null["tokens"].any()


def test_sdxl_is_told_the_sizes_as_the_pipeline_tells_them(sdxl_pipeline, sdxl_folder):
    ids = text_encoder("sdxl", sdxl_folder, "cpu", side=768).null(2)["time_ids"]
    stock = sdxl_pipeline._get_add_time_ids((768, 768), (0, 0), (768, 768), torch.float32, 24)
    assert torch.equal(ids, stock.repeat(2, 1))


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_published_files_are_the_same_encoder(name, sd15_folder, sdxl_folder, clip_vocabulary, tmp_path):
    saved = {"sd15": sd15_folder, "sdxl": sdxl_folder}[name]
    files = published(saved, tmp_path, clip_vocabulary)
    expected = text_encoder(name, saved, "cpu")(TEXTS)
    for encoder in (text_encoder(name, tmp_path, "cpu"), text_encoder(name, files, "cpu")):
        found = encoder(TEXTS)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_single_files_are_all_that_is_read(sd15_folder, clip_vocabulary, tmp_path):
    """What lies beside the given files, without a sha256 of its own, plays no part."""
    files = published(sd15_folder, tmp_path, clip_vocabulary)
    expected = text_encoder("sd15", files, "cpu")(TEXTS[:1])["tokens"]
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    (tmp_path / "text_encoder" / "model.fp16.safetensors").write_bytes(b"")
    assert torch.equal(text_encoder("sd15", files, "cpu")(TEXTS[:1])["tokens"], expected)


def test_a_prompt_that_is_cut_is_said_once(sd15_folder, capsys):
    encoder = text_encoder("sd15", sd15_folder, "cpu")
    encoder(TEXTS)
    encoder(TEXTS)
    assert capsys.readouterr().err.count("tokens is cut to 77, CLIP reads no more") == 1


def test_no_gradient_comes_out(sdxl_folder):
    assert not any(value.requires_grad for value in text_encoder("sdxl", sdxl_folder, "cpu")(TEXTS[:1]).values())


def test_weights_that_do_not_fit_are_refused(sd15_folder, tmp_path, clip_vocabulary):
    files = published(sd15_folder, tmp_path, clip_vocabulary)
    weights = load_file(tmp_path / "text_encoder" / "model.safetensors")
    del weights["text_model.final_layer_norm.bias"]
    save_file(weights, tmp_path / "text_encoder" / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: not the weights of .*1 missing_keys: final_layer_norm"):
        text_encoder("sd15", files, "cpu")


def test_what_is_missing_is_named(sd15_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer_2/ should have vocab\.json .* there: nothing"):
        text_encoder("sdxl", sd15_folder, "cpu")
    with pytest.raises(FileNotFoundError, match=r"text_encoder/ should have config\.json and model\.safetensors"):
        text_encoder("sd15", [file for file in sd15_folder.rglob("*") if file.suffix != ".safetensors"], "cpu")


def test_settings_it_has_not_and_unknown_names_are_refused(sd15_folder):
    with pytest.raises(ValueError, match=r"encoder.length is 20; this CLIP reads 77"):
        text_encoder("sd15", sd15_folder, "cpu", length=20)
    with pytest.raises(ValueError, match=r"'clip' is no text encoder; known: minilm, sd15, sdxl"):
        text_encoder("clip", sd15_folder, "cpu")


def test_states_are_computed_once_and_known_by_their_key(sd15_folder, sdxl_folder, tmp_path, capsys):
    file = tmp_path / "prompts" / "states.safetensors"
    encoder = text_encoder("sdxl", sdxl_folder, "cpu", side=1024)
    first = encode_once(encoder, TEXTS, file, batch=3)
    expected = encoder(TEXTS)
    # a batch of 3 and one of 1 instead of 4: float32 sums in another order
    assert all(torch.allclose(first[key], expected[key], atol=1e-5) for key in expected)
    assert first.keys() == expected.keys()
    stamp = file.stat().st_mtime_ns
    again = encode_once(encoder, TEXTS, file)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert file.stat().st_mtime_ns == stamp
    assert capsys.readouterr().err.count("encoding anew") == 0
    other = encode_once(text_encoder("sdxl", sdxl_folder, "cpu", side=512), TEXTS, file)
    assert other["time_ids"][0].tolist() == [512, 512, 0, 0, 512, 512]
    assert encode_once(encoder, TEXTS[:2], file)["tokens"].shape[0] == 2
    assert capsys.readouterr().err.count("encoding anew") == 2
    assert [it.name for it in file.parent.iterdir()] == ["states.safetensors"]  # nothing half written stays


def test_the_tokens_are_openai_s(sd15_folder):
    """The tokenizer of a diffusers folder against open_clip's, which has OpenAI's own code."""
    from open_clip.tokenizer import SimpleTokenizer

    theirs, ours = SimpleTokenizer(), text_encoder("sd15", sd15_folder, "cpu").clip
    for text in (*TEXTS[:2], "a blue    car\nand THREE dogs' bones, it's 100%"):
        ids = [49406, *theirs.encode(" ".join(text.split()).lower()), 49407]
        assert ours.ids([text])[0, : len(ids)].tolist() == ids
