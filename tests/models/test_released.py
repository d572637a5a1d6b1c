"""Released systems: tiny random pipelines that diffusers saved, sampled through the path of the published ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LCMScheduler,
)
from pipelines import SIZES, TABLE, autoencoder, save, tokenizer, tower, unet
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from amd.config import plan
from amd.config.load import Library, load
from amd.config.schema.assets import Asset
from amd.config.schema.system import Release, System
from amd.data.assets import MissingAsset
from amd.distill.noise import generator
from amd.measure.identity import check
from amd.measure.index_noise import IndexNoise
from amd.measure.judge import to_uint8
from amd.measure.released import LORA, UNET, build, build_pipeline, fetch, guidance_scale, images, weights_sha
from amd.measure.sample import read_samples, sample
from amd.train.artifact import Refused

ROOT = Path(__file__).parents[2]
SCHEDULERS = {  # name -> settings of the published recipes
    "EulerDiscreteScheduler": {"timestep_spacing": "trailing"},
    "EulerAncestralDiscreteScheduler": {"timestep_spacing": "trailing"},
    "LCMScheduler": {"set_alpha_to_one": False},
    "TCDScheduler": {"timestep_spacing": "trailing"},
    "DDIMScheduler": {"timestep_spacing": "trailing", "clip_sample": False},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An SDXL, tiny and random, for pictures of 16 x 16."""
    return save(tmp_path_factory.mktemp("released"))["sdxl"]


def files(folder: Path) -> dict[str, Path]:
    """Path in a pipeline's folder -> file, of everything in it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def system(name: str = "LCMScheduler", cfg_weight: float = 1.0, **recipe: Any) -> System:
    """A released SDXL under a recipe of two steps."""
    settings = SCHEDULERS.get(name, {})
    if name != "FlowMatchEulerDiscreteScheduler":
        settings = TABLE | settings
    usual = {
        "pipeline": "StableDiffusionXLPipeline",
        "files": {"model_index.json": Asset(file="model_index.json")},
        "scheduler": {"name": name, "settings": settings},
        "steps": 2,
        "resolution": 16,
        "precision": "float32",
    }
    release = Release.model_validate(usual | recipe)
    return System(name="own", kind="released", track="text", title="Own", cfg_weight=cfg_weight, release=release)


@pytest.fixture
def checkout(folder, tmp_path, monkeypatch) -> Callable[[System], Library]:
    """The real config/ with this system, its files in the mirror, and a domain that samples released ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMD_CACHE", str(tmp_path / "cache"))
    shutil.copytree(folder, tmp_path / "mirror")
    shutil.copytree(ROOT / "config", tmp_path / "config")

    def library(chosen: System) -> Library:
        content = chosen.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
        named = {path: {"file": path} for path in files(tmp_path / "mirror")}
        content["release"]["files"] = named
        (tmp_path / "config/systems/own.yaml").write_text(yaml.safe_dump(content))
        for file, more in (("config.yaml", {"mirror": "mirror"}), ("domains/emoji.yaml", {"released": True})):
            said = yaml.safe_load((tmp_path / "config" / file).read_text()) | more
            (tmp_path / "config" / file).write_text(yaml.safe_dump(said))
        return load(tmp_path / "config")

    return library


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_samples_are_those_of_diffusers_from_our_noise(checkout, folder, scheduler):
    """Fetched, drawn and stored by the verbs; then a stock pipeline, sample by sample."""
    library = checkout(system(scheduler))
    run, benchmark = library.run("own", "smoke", 0), library.benchmarks["geneval"]
    fetch(run, Path(plan.folder(run)))
    sample(run, benchmark, Path("drawn"))
    stored, prompts, manifest = read_samples(Path("drawn"))
    check(run, benchmark, Path("drawn"), manifest, len(stored))  # as scoring does
    assert manifest["weights_sha256"] == weights_sha(run)
    assert stored.shape == (plan.sample_count(run, benchmark), 3, 16, 16)
    stock = DiffusionPipeline.from_pretrained(folder)
    stock.scheduler = type(build_pipeline(run.system, files(folder)).scheduler)(**run.system.release.scheduler.settings)
    stock.set_progress_bar_config(disable=True)
    texts = build(run, benchmark).texts
    for index in (0, len(stored) - 1):
        own = stock(
            texts[int(prompts[index])], num_inference_steps=2, guidance_scale=0, output_type="pt",
            latents=IndexNoise(benchmark.seed, (index,)).normal("z", (4, 8, 8)),
            generator=generator(benchmark.seed, index, "sample", "scheduler"),
        ).images  # fmt: skip
        levels = (to_uint8(2 * own - 1)[0].int() - stored[index].int()).abs()
        assert int(levels.max()) <= 1  # sums of a batch in another order, then rounding
        assert float((levels > 0).float().mean()) < 0.02
    assert float(stored.float().std()) > 5  # pictures


def test_neither_the_batch_nor_fresh_noise_changes_a_sample(checkout):
    library = checkout(system("LCMScheduler"))
    run = library.run("own", "smoke", 0)
    draw = build(run, library.benchmarks["geneval"])
    together, alone = draw([3, 4, 5])[0][2], draw([5])[0][0]
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4)  # another order of sums


def test_timesteps_of_a_recipe_are_those_of_the_sampling(folder):
    seen: list[int] = []
    chosen = system("LCMScheduler", steps=4, timesteps=[999, 749, 499, 249])
    pipeline = build_pipeline(chosen, files(folder))
    assert isinstance(pipeline.scheduler, LCMScheduler)
    unet = pipeline.unet.forward
    pipeline.unet.forward = lambda x, t, *rest, **more: (seen.append(int(t)), unet(x, t, *rest, **more))[1]
    drawn(pipeline, chosen)
    assert seen == [999, 749, 499, 249]


def test_guidance_is_w_of_eq_9_and_asked_for_only_where_there_is_some(folder):
    """w = 1 asks the network once, w = 3 twice; uncond + w (cond - uncond) is linear in w."""
    pipeline = build_pipeline(system("DDIMScheduler", steps=1), files(folder))
    rows: list[int] = []
    unet = pipeline.unet.forward
    pipeline.unet.forward = lambda x, *rest, **more: (rows.append(len(x)), unet(x, *rest, **more))[1]
    latents = {w: drawn(pipeline, system("DDIMScheduler", w, steps=1), output="latent") for w in (1.0, 2.0, 3.0)}
    assert rows == [1, 2, 2]
    torch.testing.assert_close(latents[3.0] - latents[2.0], latents[2.0] - latents[1.0], rtol=1e-3, atol=1e-3)
    assert guidance_scale(system(cfg_weight=5.0)) == 5.0
    assert guidance_scale(system(embedded_guidance=8.0)) == 8.0


def test_a_network_with_guidance_as_an_input_is_told_it(folder, tmp_path):
    """An LCM's UNet: another number gives another picture, and a recipe without one is refused; so is the reverse."""
    shutil.copytree(folder, tmp_path / "lcm")
    torch.manual_seed(1)
    unet(SIZES["sdxl"], time_cond_proj_dim=16).save_pretrained(tmp_path / "lcm" / "unet")
    pictures = []
    for told in (2.0, 8.0):
        chosen = system(embedded_guidance=told)
        pictures.append(drawn(build_pipeline(chosen, files(tmp_path / "lcm")), chosen))
    assert float((pictures[0] - pictures[1]).abs().max()) > 1e-3
    with pytest.raises(ValueError, match=r"own\.yaml: release: the network has guidance as an input: set embedded_"):
        build_pipeline(system(), files(tmp_path / "lcm"))
    with pytest.raises(ValueError, match="has no guidance as an input: leave out embedded_guidance"):
        build_pipeline(system(embedded_guidance=8.0), files(folder))


def test_a_unet_that_torch_saved_is_the_same_one(folder, tmp_path):
    found = files(folder)
    torch.save(load_file(found.pop(UNET)), tmp_path / "unet.bin")
    own = build_pipeline(system(), found | {UNET: tmp_path / "unet.bin"}).unet.state_dict()
    stock = load_file(folder / UNET)
    assert own.keys() == stock.keys()
    assert all(torch.equal(own[name], stock[name]) for name in own)
    torch.save({"conv_in.weight": print}, tmp_path / "code.bin")
    with pytest.raises(ValueError, match="not a file of tensors alone"):
        build_pipeline(system(), found | {UNET: tmp_path / "code.bin"})


def test_a_lora_is_added_to_the_weights(folder, tmp_path):
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    weight = load_file(folder / UNET)[f"{name}.weight"]
    down, up = torch.randn(2, weight.shape[1]), torch.randn(weight.shape[0], 2)
    save_file({f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}, tmp_path / "lora.safetensors")
    own = build_pipeline(system(), files(folder) | {LORA: tmp_path / "lora.safetensors"}).unet.state_dict()
    torch.testing.assert_close(own[f"{name}.weight"], weight + up @ down)
    assert own.keys() == load_file(folder / UNET).keys()


def test_a_flux_is_sampled(tmp_path):
    torch.manual_seed(0)
    tokens = tokenizer(tmp_path / "letters")
    second = T5TokenizerFast(extra_ids=0, model_max_length=16)  # the special ones and the space
    small = T5Config(vocab_size=8, d_model=32, d_ff=37, d_kv=8, num_heads=4, num_layers=2)
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    )  # fmt: skip
    FluxPipeline(
        FlowMatchEulerDiscreteScheduler(), autoencoder(shift=0.1), tower(32, None, tokens), tokens,
        T5EncoderModel(small).eval(), second, transformer,
    ).save_pretrained(tmp_path / "flux")  # fmt: skip
    recipe = {"pipeline": "FluxPipeline", "prompt_tokens": 16, "embedded_guidance": 3.5}
    chosen = system("FlowMatchEulerDiscreteScheduler", **recipe)
    pipeline = build_pipeline(chosen, files(tmp_path / "flux"))
    first, again = drawn(pipeline, chosen), drawn(pipeline, chosen)
    assert first.shape == (1, 3, 16, 16)
    assert torch.equal(first, again)
    assert float(first.std()) > 0.01


def test_what_is_not_there_or_has_changed_is_refused_by_name(checkout):
    library = checkout(system())
    run = library.run("own", "smoke", 0)
    with pytest.raises(FileNotFoundError, match="own/seed0: no finished artefact"):
        weights_sha(run)
    fetch(run, Path(plan.folder(run)))
    meta = json.loads((Path(plan.folder(run)) / "meta.json").read_text())
    assert set(meta["assets"]) == set(run.system.release.files)
    weights = Path("mirror") / UNET
    moved = load_file(weights)
    shutil.rmtree("cache")  # nobody remembers the file's sha256 but the artefact
    save_file({name: tensor + 1 for name, tensor in moved.items()}, weights)
    with pytest.raises(Refused, match=r"diffusion_pytorch_model\.safetensors: sha256 .*meta\.json says"):
        weights_sha(run)
    weights.unlink()
    with pytest.raises(MissingAsset, match=r"unet/diffusion_pytorch_model\.safetensors"):
        fetch(run, Path(plan.folder(run)))


def test_settings_that_a_scheduler_does_not_have_are_refused(folder):
    wrong = {"name": "EulerDiscreteScheduler", "settings": {"timestep_spacng": "trailing"}}
    with pytest.raises(ValueError, match=r"own\.yaml: release\.scheduler\.settings: EulerDiscreteScheduler refuses"):
        build_pipeline(system(scheduler=wrong), files(folder))


def drawn(pipeline: Any, chosen: System, output: str = "pt") -> torch.Tensor:
    """One picture of one prompt."""
    pipeline.set_progress_bar_config(disable=True)
    with torch.inference_mode():
        return images(pipeline, chosen, ["a heart"], 0, [0], output=output)
