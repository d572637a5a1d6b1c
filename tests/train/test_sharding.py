"""Networks shared out over ranks give the student of one process that has them whole, and states know nothing of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from children import processes, together
from shared_out import look
from smoke_run import Case

from amd.backbones.unet import UNetBackbone
from amd.backbones.wan import WanBackbone
from amd.config.schema.sizes import UNetSize, WanSize
from amd.train.artifact import read_artifact, read_meta
from amd.train.devices import ranks
from amd.train.loop import distill
from amd.train.sharding import LARGEST, blocks

SPANNING = {"batch": 8, "group": 8, "micro_batch": 8}  # one group: its rewards are on all ranks
CLOSE = (
    1e-4  # of the student's way, as for ranks that are not sharded: sums in float32 in another order, Adam's division
)


def moved(folder: Path, a: str, b: str, name: str = "student") -> float:
    """Distance of two results, as a share of how far one has gone from the start (Euclidean, over all weights)."""
    one, other = read_artifact(folder / a, name), read_artifact(folder / b, name)
    start = read_artifact(folder / "checkpoints/smoke/sit-warm-short/seed0", name)
    shared = start.keys() & one.keys()
    way = sum(float((one[key].double() - start[key].double()).square().sum()) for key in shared) ** 0.5
    assert way > 0
    assert one.keys() == other.keys()
    return sum(float((one[key].double() - other[key].double()).square().sum()) for key in one) ** 0.5 / way


CASES = {
    "amd": Case(sizes=SPANNING),  # an average of the student, rewards, a full fake
    "micro-batches": Case(sizes={"batch": 16, "group": 8, "micro_batch": 4}),
    "dmdr": Case(method="dmdr", rank=4, sizes=SPANNING),  # a real teacher that borrows the fake's branch
    "dmd2": Case(method="dmd2", sizes=SPANNING),  # a critic on the fake's features, whose weights rest for the student
    "dmd": Case(method="dmd", ema=0.0, numbers={"ratio": 1}, sizes=SPANNING),  # two passes of the student in one loss
}


@pytest.mark.parametrize("name", CASES)
def test_two_processes_that_share_the_weights_out_give_the_student_of_one(checkpoints: Path, name: str) -> None:
    case = CASES[name]
    distill(replace(case, sizes={**case.sizes, "micro_batch": case.sizes["batch"]}).run(), Path("one"), Path("state"))
    assert processes(case.run(), checkpoints, "two", 2, sharding="fsdp2") == [0, 0]
    assert moved(checkpoints, "one", "two") < CLOSE
    one, two = read_meta(checkpoints / "one"), read_meta(checkpoints / "two")
    assert one["files"].keys() == two["files"].keys()  # type: ignore[attr-defined]


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["one process", "one node", "two nodes"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the processes of an allocation found."""
    world, of_node = {"one process": (1, 1), "one node": (2, 2), "two nodes": (4, 2)}[request.param]
    folder = tmp_path_factory.mktemp("seen")
    told = {"folder": folder, "out": "seen", "world": world, "of_node": of_node}
    assert together(look, world, lambda rank, port: {**told, "rank": rank, "port": port}) == [0] * world
    return {**json.loads((folder / "seen.json").read_text()), "world": world, "of_node": of_node}


def test_weights_are_shared_out_within_a_node_and_copied_between_nodes(seen: dict[str, Any]) -> None:
    several = 1 < seen["of_node"] < seen["world"]
    assert seen["mesh"] == ([seen["world"] // seen["of_node"], seen["of_node"]] if several else [seen["world"]])
    part, whole = seen["held"]
    assert whole / seen["of_node"] <= part < 1.1 * whole / seen["of_node"]  # the first rank rounds up


ALIKE = ("sit", "unet", "recomputed", "leaked", "borrowed", "wan", "wan leaked", "unet leaked", "streaming wan")


@pytest.mark.parametrize("what", ALIKE)
def test_a_network_that_is_shared_out_has_the_gradients_of_a_whole_one(seen: dict[str, Any], what: str) -> None:
    assert seen[what] < 1e-5  # sums over rows in another order, and other kernels of a convolution for fewer rows


@pytest.mark.parametrize("what", ["rested", "wan rested"])
def test_a_frozen_network_on_the_cpu_says_the_same(seen: dict[str, Any], what: str) -> None:
    assert seen[what] < 1e-6


def test_the_real_teachers_share_of_the_branch_was_one_that_shows(seen: dict[str, Any]) -> None:
    assert seen["borrowed share"] > 1e-3


@pytest.mark.parametrize("what", ["sit bfloat16", "wan bfloat16"])
def test_a_bfloat16_network_gathers_what_autocast_would_have_made(seen: dict[str, Any], what: str) -> None:
    assert seen[what] < 2e-2  # gradients are rounded to 8 bits before rows are summed, not after


def test_ranks_that_begin_from_different_weights_are_refused(seen: dict[str, Any]) -> None:
    assert ("refused" in seen) == (seen["world"] > 1)
    assert "do they read the same checkpoints" in seen.get("refused", "do they read the same checkpoints")


def test_the_largest_unit_of_sdxl_is_a_transformer_block_and_all_but_its_ends_is_in_one() -> None:
    size = UNetSize(
        channels=[320, 640, 1280],
        layers=2,
        transformers=[0, 2, 10],
        heads=[5, 10, 20],
        context=2048,
        pooled=1280,
        linear_projection=True,
    )
    with torch.device("meta"):
        network = UNetBackbone(size, 4, 128)
    units = list(blocks(network))
    inside = {id(p): p.numel() for unit in units for p in unit.parameters()}
    assert sum(sum(p.numel() for p in unit.parameters()) for unit in units) == sum(inside.values())  # none in two
    assert max(sum(p.numel() for p in unit.parameters()) for unit in units) <= LARGEST
    assert sum(inside.values()) > 0.98 * sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("image", [1280, None], ids=["i2v", "t2v"])
def test_the_units_of_a_wan_of_14_b_are_its_blocks_and_all_but_its_ends_is_in_one(image: int | None) -> None:
    size = WanSize(patch=2, width=5120, depth=40, heads=40, ffn=13824, context=4096, image_context=image)
    with torch.device("meta"):
        network = WanBackbone(size, (16, 21, 60, 104))
    inside = network.network.blocks
    outside = {name.split(".")[1] for name, _ in network.named_parameters() if not name.startswith("network.blocks.")}
    assert outside == {"patch_embedding", "condition_embedder", "proj_out", "scale_shift_table"}
    units = list(blocks(network))
    assert [unit for unit in units if unit in set(inside)] == list(inside)
    embedders = set(network.network.condition_embedder.modules())
    assert all(unit in embedders for unit in units if unit not in set(inside))
    rest = sum(p.numel() for p in network.parameters()) - sum(p.numel() for p in inside.parameters())
    assert rest < max(sum(p.numel() for p in unit.parameters()) for unit in units)  # no more than a block is whole


def test_offloading_without_sharding_is_refused() -> None:
    with pytest.raises(ValueError, match="set sharding: fsdp2 in the same footprint"):
        ranks("none", offload=True)


# --- states ----------------------------------------------------------------------------------------------------------


def test_a_state_goes_on_under_any_sharding_and_number_of_processes(checkpoints: Path) -> None:
    case = CASES["dmd2"]
    distill(case.run(), Path("one"), Path("state"))
    shared: dict[str, Any] = {"sharding": "fsdp2"}
    assert processes(case.run(), checkpoints, "mixed", 2, budget_s=0.0, **shared) == [75, 75]  # one iteration each
    assert processes(case.run(), checkpoints, "mixed", 1, budget_s=0.0) == [75]
    assert processes(case.run(), checkpoints, "mixed", 2, budget_s=0.0) == [75, 75]
    assert processes(case.run(), checkpoints, "mixed", 4, of_node=2, **shared) == [0] * 4
    assert moved(checkpoints, "one", "mixed") < CLOSE
    assert moved(checkpoints, "one", "mixed", "fake") < CLOSE


def test_a_run_that_shares_out_resumes_bit_for_bit(checkpoints: Path) -> None:
    case = replace(CASES["amd"], iterations=3)
    shared: dict[str, Any] = {"sharding": "fsdp2", "offload": True}
    assert processes(case.run(), checkpoints, "straight", 2, **shared) == [0, 0]
    while not (checkpoints / "out").exists():
        assert set(processes(case.run(), checkpoints, "out", 2, budget_s=0.0, **shared)) <= {0, 75}
    straight, again = read_meta(checkpoints / "straight"), read_meta(checkpoints / "out")
    assert straight["files"] == again["files"]
