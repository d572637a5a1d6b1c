"""Who is asked how often in one iteration, and which role updates when: no forward that need not happen."""

import pytest
from players import BATCH, ROWS, Company, noise, play

from amd.distill.methods import METHODS, row
from amd.distill.step import step


@pytest.mark.parametrize("ratio", [1, 2, 5])
@pytest.mark.parametrize("micro", [1, 2])
def test_exactly_one_student_update_and_then_ratio_fake_updates(ratio: int, micro: int) -> None:
    method = row("amd", {"ratio": ratio})
    roles = [
        (phase.role, phase.last) for phase in step(method, Company().cast(), BATCH, noise(), progress=0, micro=micro)
    ]
    update = [False] * (micro - 1) + [True]
    assert roles == [("student", last) for last in update] + [("fake", last) for last in update] * ratio


# calls and rows per iteration: 8 rows, guidance on, five fake updates (one for the literal preset)
EXPECTED: dict[str, dict[str, tuple[int, int]]] = {
    "dmd-pure": {"student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40)},
    "dmd": {"student": (7, 56), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40)},  # one more for its pairs
    "dmd2": {"student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40), "logit": (11, 88)},
    "d-dmd": {"student": (6, 48), "real": (2, 24), "fake": (1, 8), "fake_loss": (5, 40)},  # B at dm, 2B at ca
    "magic": {"student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40)},
    "dmdr": {"student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40), "reward": (1, 8)},
    "naive": {"student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40), "reward": (1, 8)},
    "amd": {"student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40), "reward": (6, 48)},
    "amd-literal": {"student": (1, 8), "real": (1, 16), "fake": (1, 8), "fake_loss": (1, 8), "reward": (1, 8)},
    "amd-without-adaptation": {  # the student's own samples are never scored
        "student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40), "reward": (5, 40),
    },
    "amd-without-sharpening": {
        "student": (6, 48), "real": (1, 16), "fake": (1, 8), "fake_loss": (5, 40), "reward": (1, 8),
    },
}  # fmt: skip


@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_nobody_is_asked_more_often_than_needed(name: str, stats: bool) -> None:
    """And what is logged costs no forward."""
    company = Company()
    play(METHODS[name], company, stats=stats)
    assert {who: (company.calls[who], company.rows[who]) for who in company.calls} == EXPECTED[name]


@pytest.mark.parametrize("name", METHODS)
def test_without_guidance_nobody_asks_the_unconditional_teacher(name: str) -> None:
    company = Company(cfg_weight=1.0)
    play(METHODS[name], company)
    assert company.rows["real"] == ROWS


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_ask_for_the_same_rows(name: str) -> None:
    company = Company()
    play(METHODS[name], company, micro=2)
    assert dict(company.rows) == {who: n for who, (_, n) in EXPECTED[name].items()}
