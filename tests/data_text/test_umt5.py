"""Wan's text encoder against diffusers' own pipeline, on a tiny random one in the published files' layout."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from amd.backbones.text import TextEncoder, text_encoder
from amd.backbones.umt5 import NEGATIVE, cleaned

LENGTH = 24
TEXTS = ["a cat runs left", "", "A   red &amp;amp; blue dog\n jumps \u201cup\u201d ", "caf\u00c3\u00a9", "word " * 40]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """text_encoder/ in parts and tokenizer/, as WanPipeline's folders have them."""
    root = tmp_path_factory.mktemp("wan")
    letters = [chr(c) for c in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("\u2581", -3.0), *((c, -4.0) for c in letters)]
    pieces += [("\u2581a", -2.0), ("ed", -2.5), ("\u2581run", -2.1)]
    words = Tokenizer(models.Unigram(pieces, unk_id=2))
    words.normalizer = normalizers.NFKC()
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    words.enable_padding(pad_id=0, pad_token="<pad>", length=40)  # what a file says of padding is not read
    (root / "tokenizer").mkdir()
    words.save(str(root / "tokenizer" / "tokenizer.json"))
    torch.manual_seed(0)
    config = UMT5Config(
        vocab_size=len(pieces), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=2, tie_word_embeddings=False
    )
    UMT5EncoderModel(config).save_pretrained(root / "text_encoder", max_shard_size="4KB")
    assert len(list((root / "text_encoder").glob("*.safetensors"))) > 1
    return root


def stock(folder: Path, texts: list[str]) -> torch.Tensor:
    """diffusers' own way from texts to what the network reads."""
    words = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer" / "tokenizer.json"),
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    network = UMT5EncoderModel.from_pretrained(folder / "text_encoder").eval()
    pipeline = SimpleNamespace(_execution_device=torch.device("cpu"), text_encoder=network, tokenizer=words)
    with torch.no_grad():
        return WanPipeline._get_t5_prompt_embeds(pipeline, texts, max_sequence_length=LENGTH)


def test_states_are_those_of_diffusers_pipeline(folder, capsys):
    encoder = text_encoder("umt5", folder, "cpu", length=LENGTH)
    assert isinstance(encoder, TextEncoder)
    found = encoder(TEXTS)
    assert set(found) == {"tokens"}
    torch.testing.assert_close(found["tokens"], stock(folder, TEXTS), rtol=0, atol=1e-6)  # float32, padded less
    assert not bool(found["tokens"][0, -1].any())
    encoder(TEXTS)
    assert capsys.readouterr().err.count("is cut to 24") == 1


def test_the_null_condition_is_the_published_negative_prompt(folder):
    encoder = text_encoder("umt5", folder, "cpu", length=LENGTH)
    assert torch.equal(encoder.null(3)["tokens"], encoder([NEGATIVE])["tokens"].expand(3, -1, -1))
    assert NEGATIVE.startswith("色调艳丽，过曝")
    assert NEGATIVE.endswith("倒着走")
    assert len(NEGATIVE.split("，")) == 28


@pytest.mark.parametrize("text", TEXTS)
def test_prompts_are_cleaned_as_by_diffusers(text):
    assert cleaned(text) == prompt_clean(text)


def test_files_one_by_one_are_the_folder_and_the_length_is_wans(folder):
    files = sorted(file for part in ("text_encoder", "tokenizer") for file in (folder / part).iterdir())
    from_files, from_folder = text_encoder("umt5", files, "cpu"), text_encoder("umt5", folder, "cpu")
    assert from_files.key == from_folder.key
    assert from_files(["a cat"])["tokens"].shape == (1, 512, 16)
    assert text_encoder("umt5", folder, "cpu", length=8).key != from_folder.key


def test_what_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"wanted text_encoder/config\.json.*there: nothing"):
        text_encoder("umt5", tmp_path, "cpu")
    with pytest.raises(ValueError, match=r"encoder\.length is 1"):
        text_encoder("umt5", folder, "cpu", length=1)
    (tmp_path / "text_encoder").mkdir()
    weights = {}
    for file in (folder / "text_encoder").glob("*.safetensors"):
        weights |= load_file(file)
    weights.pop("encoder.block.1.layer.0.SelfAttention.q.weight")
    save_file(weights, tmp_path / "text_encoder" / "model.safetensors")
    (tmp_path / "text_encoder" / "config.json").write_text((folder / "text_encoder" / "config.json").read_text())
    (tmp_path / "tokenizer").symlink_to(folder / "tokenizer")
    with pytest.raises(ValueError, match=r"model\.safetensors: not the weights.*1 missing_keys.*SelfAttention\.q"):
        text_encoder("umt5", tmp_path, "cpu")
