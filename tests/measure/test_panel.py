"""A panel's numbers from its columns: means of the published benchmarks, and the golden arithmetic of their tables."""

import numpy as np
import pytest
import torch

from amd.config.served import TASKS, Part, served
from amd.data.prompts import PromptSet
from amd.measure.panel import Asked, Mean, Panel

STYLES = {"anime": "anime", "photo": "photo", "concept_art": "concept-art", "painting": "paintings"}


def panel(stem: str, times: float, *keys: tuple[str, str | None]) -> Panel:
    """One text scorer, whose scores are given and not asked for."""
    member = Mean(stem, lambda images, texts: [], times, sha256="", preprocessing="none")
    return Panel(tuple(Part(key, stem, category) for key, category in keys), {stem: member})


def asked(count: int, categories: list[str] | None = None) -> Asked:
    prompts = PromptSet(("",) * count, None, None if categories is None else tuple(categories))
    return Asked(prompts, torch.arange(count))


def hpdv2(scores: np.ndarray) -> dict[str, float]:
    """(4, 800) scores, style after style -> the numbers of Table 7's HPSv2 columns."""
    keys = [(f"{name}_hpsv2", source) for name, source in STYLES.items()] + [("average_hpsv2", None)]
    of = [source for source in STYLES.values() for _ in range(scores.shape[1])]
    return panel("hpsv2", 100.0, *keys).numbers({"hpsv2": scores.ravel().tolist()}, asked(scores.size, of))


def test_hpdv2_is_the_references_mean_of_ten_chunk_means():
    """tgxs002/HPSv2, evaluate: per style the mean over 10 chunks of 80; x 100. The average is over all 3,200."""
    scores = np.random.default_rng(0).normal(0.28, 0.03, (4, 800))
    numbers = hpdv2(scores)
    for name, style in zip(STYLES, scores, strict=True):
        assert numbers[f"{name}_hpsv2"] == pytest.approx(100 * style.reshape(10, 80).mean(1).mean(), rel=1e-12)
    assert numbers["average_hpsv2"] == pytest.approx(100 * scores.mean(), rel=1e-12)


def test_hpdv2s_average_is_that_of_a_row_of_the_leaderboard():
    """SDXL Base 0.9 under v2.1 (README): animation, concept-art, painting, photo; average 30.63."""
    row = {"anime": 32.84, "concept_art": 31.36, "painting": 30.86, "photo": 27.48}
    numbers = hpdv2(np.array([[row[name] / 100] * 800 for name in STYLES]))
    assert {name: numbers[f"{name}_hpsv2"] for name in row} == pytest.approx(row)
    assert numbers["average_hpsv2"] == pytest.approx(30.63, abs=0.01)


def test_drawbench_is_a_plain_mean_over_its_200_prompts_whatever_their_categories():
    sizes = [25, 10, 19, 20, 20, 10, 10, 20, 7, 38, 21]  # of the sheet of Saharia et al. (2022)
    scores = np.random.default_rng(1).normal(22.0, 1.3, 200)
    of = [str(i) for i, size in enumerate(sizes) for _ in range(size)]
    numbers = panel("pickscore", 1.0, ("pickscore", None)).numbers({"pickscore": scores.tolist()}, asked(200, of))
    assert numbers == {"pickscore": pytest.approx(scores.mean(), rel=1e-12)}
    by_category = np.mean([scores[np.array(of) == name].mean() for name in set(of)])
    assert abs(numbers["pickscore"] - by_category) > 1e-3  # which it is not


def test_a_category_that_no_prompt_has_is_named():
    with pytest.raises(ValueError, match="metric anime_hpsv2: no prompt of category 'anime'"):
        panel("hpsv2", 1.0, ("anime_hpsv2", "anime")).numbers({"hpsv2": [0.1]}, asked(1, ["photo"]))


def test_who_serves_what_is_known_from_the_domain_alone(library):
    domain = library.domains["sdxl"]
    known = served(domain, "hpdv2")
    assert known["anime_hpsv2"] == Part("anime_hpsv2", "hpsv2", "anime")
    assert known["concept_art_imagereward"] == Part("concept_art_imagereward", "imagereward", "concept-art")
    assert known["average_pickscore"] == Part("average_pickscore", "pickscore", None)
    assert {key for key, part in known.items() if part.stem == "geneval"} == set(TASKS)
    assert "anime_hpsv2" not in served(domain, "drawbench")
    for benchmark in library.benchmarks.values():
        if benchmark.track == "text":
            for name in ("sdxl", "emoji"):
                assert set(benchmark.metrics) <= set(served(library.domains[name], benchmark.name))


@pytest.fixture(scope="module")
def library():
    from pathlib import Path

    from amd.config.load import load

    return load(Path(__file__).parents[2] / "config")
