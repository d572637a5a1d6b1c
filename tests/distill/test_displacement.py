"""Both teachers asked one by one, against `look`, which batches them: every displacement at its own time and noise."""

import pytest
import torch
from players import CLASSES, ROWS, SHAPE, Company, draw, noise
from torch import Tensor

from amd.distill.displacement import look
from amd.distill.noise import generator
from amd.distill.path import Linear
from amd.distill.renoise import Levels
from amd.distill.types import Displacements

CLOSE = {"rtol": 0, "atol": 1e-12}  # float64, one small network
T_DM, T_CA = torch.rand(2, ROWS, generator=generator("levels"), dtype=torch.float64)
SOME = torch.arange(ROWS) % 3 == 0
LEVELS = {
    "shared": Levels(T_DM, T_DM),
    "split": Levels(T_DM, T_CA, torch.ones(ROWS, dtype=torch.bool)),
    "some rows split": Levels(T_DM, torch.where(SOME, T_CA, T_DM), SOME),
}


def sample() -> Tensor:
    return torch.randn(ROWS, *SHAPE, generator=generator("look"), dtype=torch.float64)


def ask(levels: Levels, w: float, uncond_dm: bool) -> tuple[Displacements, Tensor, Company]:
    company, draws = Company(cfg_weight=w), noise()
    x = sample().requires_grad_()
    d, eps = look(company.cast(), x, draw()(draws), levels, draws, uncond_dm)
    return d, eps, company


@pytest.mark.parametrize("uncond_dm", [True, False])
@pytest.mark.parametrize("kind", LEVELS)
def test_every_displacement_is_taken_at_its_own_level(kind: str, uncond_dm: bool) -> None:
    levels = LEVELS[kind]
    d, eps, company = ask(levels, 3.0, uncond_dm)
    x, draws = sample(), noise()
    label = draw()(draws).cond["label"]
    eps_dm, eps_ca = draws.normal("eps", SHAPE), draws.normal("eps_ca", SHAPE)
    assert torch.equal(eps, eps_dm)
    for i in range(ROWS):
        split = levels.split is not None and bool(levels.split[i])
        row = slice(i, i + 1)
        own, null = {"label": label[row]}, {"label": torch.tensor([CLASSES])}
        t_dm, t_ca = levels.t_dm[row], levels.t_ca[row]
        at_dm = Linear().add_noise(x[row], eps_dm[row], t_dm)
        at_ca = Linear().add_noise(x[row], (eps_ca if split else eps_dm)[row], t_ca)
        with torch.no_grad():
            expected = {
                "real_dm": x[row] - company.teacher.x0(at_dm, t_dm, own),
                "uncond_dm": x[row] - company.teacher.x0(at_dm, t_dm, null),
                "fake_dm": x[row] - company.fake.x0(at_dm, t_dm, own, 1.0),
                "real_ca": x[row] - company.teacher.x0(at_ca, t_ca, own),
                "uncond_ca": x[row] - company.teacher.x0(at_ca, t_ca, null),
            }
        for name, value in expected.items():
            found = getattr(d, name)
            if name == "uncond_dm" and levels.split is not None and not uncond_dm:
                assert found is None  # not asked for, not computed
            else:
                torch.testing.assert_close(found[row], value, **CLOSE)


@pytest.mark.parametrize("kind", LEVELS)
def test_without_guidance_there_is_one_level_and_no_unconditional_teacher(kind: str) -> None:
    d, _, company = ask(LEVELS[kind], 1.0, True)
    assert d.uncond_dm is None
    assert d.uncond_ca is None
    assert d.real_ca is d.real_dm
    assert company.rows["real"] == ROWS


def test_displacements_carry_no_graph() -> None:
    """Neither through the teachers nor through x: Eq. 21 holds with both x0_hat constant."""
    for kind in LEVELS:
        d, eps, _ = ask(LEVELS[kind], 3.0, True)
        assert not any(getattr(d, name).requires_grad for name in d.__dataclass_fields__)
        assert not eps.requires_grad
