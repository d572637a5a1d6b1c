"""Classifiers and the reward made of one."""

import pytest
import torch
from torch import nn

from amd.rewards.base import REWARDS, Material, Reward, reward
from amd.rewards.classifier import ARCHITECTURES, Classifier, ClassifierReward, accuracy, load


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_are_the_mean_of_the_map_and_logits_read_them(architecture):
    classifier, x = Classifier(architecture, 10, 1), torch.randn(3, 1, 16, 16)
    reading = classifier.read(x)
    assert reading.spatial.shape == (3, 64, 4, 4)
    assert torch.equal(reading.features, reading.spatial.mean((2, 3)))
    assert torch.equal(classifier(x), classifier.head(reading.features))
    assert torch.equal(classifier.spatial(x), reading.spatial)
    assert torch.equal(classifier.features(x), reading.features)


def test_the_judge_is_not_the_rewards_twin():
    judge, rewarder = Classifier("resnet", 10, 1), Classifier("conv", 10, 1)
    kinds = [{type(m) for m in network.modules() if not list(m.children())} for network in (judge, rewarder)]
    assert nn.GroupNorm in kinds[0] - kinds[1]
    assert nn.GELU in kinds[1] - kinds[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reward_is_the_log_probability_of_the_label(architecture):
    classifier = Classifier(architecture, 10, 1, seed=4)
    x, label = torch.randn(5, 1, 16, 16), torch.tensor([0, 3, 9, 3, 1])
    value = ClassifierReward(classifier)(x, {"label": label})
    expected = classifier(x).double().softmax(1).log()[torch.arange(5), label]
    torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-5)  # float32
    total = sum(ClassifierReward(classifier)(x, {"label": torch.full((5,), k)}).exp() for k in range(10))
    torch.testing.assert_close(total, torch.ones(5), rtol=0, atol=1e-5)


def test_climbing_the_reward_raises_it_and_moves_the_image_alone():
    value = ClassifierReward(Classifier("conv", 10, 1, seed=4))
    x, cond = torch.randn(4, 1, 16, 16, requires_grad=True), {"label": torch.tensor([0, 1, 2, 3])}
    before = value(x, cond)
    before.sum().backward()
    assert x.grad is not None
    step = 1e-2 * x.grad / x.grad.flatten(1).norm(dim=1)[:, None, None, None]
    assert (value(x + step, cond) > before).all()
    assert value.differentiable
    assert all(p.grad is None and not p.requires_grad for p in value.parameters())


def test_a_classifier_comes_back_from_its_weights():
    one = Classifier("resnet", 10, 3, seed=5)
    two = load("resnet", 10, 3, one.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(one(x), two(x))
    assert not two.training


def test_accuracy_counts_over_all_batches():
    classifier, x = Classifier("conv", 4, 1, seed=1), torch.randn(7, 1, 16, 16)
    said = classifier(x).argmax(1)
    wrong = torch.tensor([True, False, False, True, False, False, False])
    assert accuracy(classifier, x, torch.where(wrong, (said + 1) % 4, said), batch=3) == pytest.approx(5 / 7)


def test_rewards_are_built_by_name_from_what_is_brought():
    weights = Classifier("conv", 10, 1, seed=6).state_dict()
    built = reward("classifier", Material(10, 1, architecture="conv", weights=weights))
    assert isinstance(built, Reward)
    with pytest.raises(ValueError, match="classifier system"):
        reward("classifier", Material(10, 1))
    with pytest.raises(ValueError, match=f"'clasifier'.*{', '.join(sorted(REWARDS))}"):
        reward("clasifier", Material(10, 1))
    with pytest.raises(ValueError, match=r"'vgg'.*conv, resnet"):
        Classifier("vgg", 10, 1)
