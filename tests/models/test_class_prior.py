from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from mmgen.errors import UserError
from mmgen.models import class_prior
from mmgen.models.class_prior import ClassPrior

NAMES = ["gesund", "κρανίο"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, size: int = 32, channels: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(count, channels, size, size, generator=seeded(seed)) * 2 - 1


def alternating(count: int) -> Tensor:
    return torch.arange(count) % 2


def planted(count: int, seed: int = 0, size: int = 32) -> Tensor:
    """Grey images around -0.2 that differ in overall brightness (most) and from left to right, and in faint noise."""
    generator = seeded(seed)
    brightness, tilt = torch.randn(2, count, 1, 1, 1, generator=generator).clamp(-2, 2)
    ramp = torch.linspace(-1, 1, size).expand(1, size, size)
    return -0.2 + 0.2 * brightness + 0.1 * tilt * ramp + 0.02 * noise(count, size, seed=seed + 1)


def states(prior: ClassPrior) -> dict[str, Tensor]:
    return {key: value.double() for key, value in prior.state_dict().items()}


# -- what is drawn


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (48, 3), (224, 3)])
def test_draws_have_the_colour_of_their_class(size, channels):
    colours = torch.tensor([[0.5, -0.25, 0.0], [-0.75, 0.25, 0.9]])[:, :channels]
    labels = alternating(24)
    images = colours[labels][..., None, None].expand(-1, -1, size, size)
    prior = ClassPrior.fit(images, labels, NAMES)
    drawn = prior.sample(labels, seeded())
    assert drawn.shape == images.shape and drawn.dtype == torch.float32
    torch.testing.assert_close(drawn, images, atol=1e-4, rtol=0)
    assert prior.counts.tolist() == [12, 12]


def test_draws_vary_as_the_class_does():
    images = planted(600)
    prior = ClassPrior.fit(images, torch.zeros(600, dtype=torch.long), NAMES[:1])
    drawn = prior.sample(torch.zeros(600, dtype=torch.long), seeded(5))
    real, made = (torch.nn.functional.adaptive_avg_pool2d(x, 8).flatten(1) for x in (images, drawn))
    torch.testing.assert_close(made.mean(0), real.mean(0), atol=0.04, rtol=0)
    for whole in (lambda x: x.mean(1), lambda x: (x.view(-1, 8, 8) * torch.linspace(-1, 1, 8)).mean((1, 2))):
        torch.testing.assert_close(whole(made).std(), whole(real).std(), rtol=0.15, atol=0)
    assert prior.deviations[0, 0] > prior.deviations[0, 1] > 5 * prior.deviations[0, 2]
    assert prior.directions[0, 0].flatten().std() < 0.01  # brightness is the same everywhere


def test_fine_noise_is_pink_above_the_stored_band_and_as_strong_as_the_detail():
    prior = ClassPrior(64, 1, ["a"])
    prior.texture.fill_(0.1)
    drawn = prior.sample(torch.zeros(200, dtype=torch.long), seeded())
    torch.testing.assert_close(drawn.std(), torch.tensor(0.1), rtol=0.02, atol=0)
    power = torch.fft.fft2(drawn).abs().square().mean((0, 1))
    assert power[:5, :5].max() < 1e-6 * power.max()  # up to 4 cycles: what 8 x 8 pixels can show
    torch.testing.assert_close(power[0, 8] / power[0, 16], torch.tensor(4.0), rtol=0.2, atol=0)


def test_detail_is_measured_where_it_is():
    images = 0.05 * noise(20, 64)
    images[:, :, :32] *= 8
    prior = ClassPrior.fit(images, torch.zeros(20, dtype=torch.long), ["a"])
    deviation = prior.sample(torch.zeros(100, dtype=torch.long), seeded()).std((0, 1, 3))
    expected = images.std((0, 1, 3))
    torch.testing.assert_close(deviation[:28].mean(), expected[:28].mean(), rtol=0.1, atol=0)
    torch.testing.assert_close(deviation[36:].mean(), expected[36:].mean(), rtol=0.1, atol=0)


def test_what_no_direction_holds_is_drawn_as_noise_where_it_is():
    coarse = noise(300, 8) * torch.tensor([0.5] * 4 + [0.1] * 4)
    images = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    prior = ClassPrior.fit(images, torch.zeros(300, dtype=torch.long), ["a"], directions=0)
    torch.testing.assert_close(prior.remainder[0], coarse.std(0), rtol=0.1, atol=0)
    drawn = prior.sample(torch.zeros(300, dtype=torch.long), seeded())
    left, right = torch.nn.functional.adaptive_avg_pool2d(drawn, 8).std(0).chunk(2, dim=-1)
    assert left.mean() > 0.5 * 0.5 / 3**0.5  # enlarging smooths, but no more than that
    assert right.mean() < left.mean() / 2.5


def test_draws_stay_in_range():
    images = planted(40) * 4
    prior = ClassPrior.fit(images.clamp(-1, 1), torch.zeros(40, dtype=torch.long), ["a"])
    drawn = prior.sample(torch.zeros(50, dtype=torch.long), seeded())
    assert drawn.abs().max() == 1.0


def test_a_seed_decides_the_draws_and_no_other_random_numbers_are_touched():
    prior = ClassPrior.fit(planted(40), alternating(40), NAMES)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second, other = (prior.sample(alternating(6), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[2])  # two draws of one class


# -- what restoring starts from


def fitted(channels: int = 1) -> ClassPrior:
    images = planted(40).repeat(1, channels, 1, 1) + 0.1 * noise(40, channels=channels, seed=3)
    images[1::2] *= 0.3  # the second class has less detail
    return ClassPrior.fit(images.clamp(-1, 1), alternating(40), NAMES)


@pytest.mark.parametrize("channels", [1, 3])
def test_concealed_images_keep_their_coarse_part_and_nothing_else(channels):
    prior, labels = fitted(channels), alternating(6)
    images = 0.5 * noise(6, channels=channels, seed=4)
    concealed = prior.conceal(images, labels, seeded())
    assert concealed.shape == images.shape and concealed.dtype == torch.float32
    # Other detail over the same 8 x 8 image makes no difference: cells of 4 x 4 pixels are mirrored.
    cells = images.unflatten(2, (8, 4)).unflatten(4, (8, 4))
    other = cells.flip(3, 5).flatten(4, 5).flatten(2, 3)
    assert not torch.equal(other, images)
    torch.testing.assert_close(prior.conceal(other, labels, seeded()), concealed, atol=1e-6, rtol=0)
    assert not torch.allclose(prior.conceal(-images, labels, seeded()), concealed, atol=0.01)
    prior.texture.zero_()
    reduced = torch.nn.functional.adaptive_avg_pool2d(images, 8)
    enlarged = torch.nn.functional.interpolate(reduced, size=32, mode="bilinear")
    torch.testing.assert_close(prior.conceal(images, labels, seeded()), enlarged)


def test_a_concealed_image_is_the_draw_that_has_its_coarse_part():
    """Of a class without variety every draw has the same coarse part: that of an image made from the mean."""
    prior, labels = fitted(), torch.zeros(300, dtype=torch.long)
    prior.deviations.zero_()
    prior.remainder.zero_()
    image = prior.mean[:1].repeat_interleave(4, 2).repeat_interleave(4, 3).expand(300, -1, -1, -1)
    concealed, drawn = prior.conceal(image, labels, seeded(1)), prior.sample(labels, seeded(2))
    torch.testing.assert_close(concealed.mean(0), drawn.mean(0), atol=0.04, rtol=0)
    torch.testing.assert_close(concealed.std(0).mean(), drawn.std(0).mean(), rtol=0.05, atol=0)


def test_detail_of_concealed_images_is_that_of_their_class():
    prior = fitted()
    blank = torch.zeros(100, 1, 32, 32)
    strong, weak = (prior.conceal(blank, torch.full((100,), label), seeded()).std() for label in (0, 1))
    assert strong > 2 * weak > 0
    torch.testing.assert_close(strong, prior.texture[0].square().mean().sqrt(), rtol=0.1, atol=0)


def test_a_seed_decides_what_conceals_and_images_stay_in_range():
    prior, labels = fitted(), alternating(8)
    images = noise(8).sign()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second, other = (prior.conceal(images, labels, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, second) and not torch.equal(first, other)
    prior.texture.fill_(3.0)
    assert prior.conceal(images, labels, seeded()).abs().max() == 1.0
    assert not prior.conceal(images.requires_grad_(), labels, seeded()).requires_grad


# -- what is stored


def test_the_state_holds_the_documented_numbers_and_no_others():
    classes, channels, directions = 2, 3, 4
    prior = ClassPrior.fit(noise(50, 48, channels), alternating(50), NAMES, directions=directions)
    grid = channels * 8 * 8
    assert {key: value.numel() for key, value in prior.state_dict().items()} == {
        "counts": classes,
        "mean": classes * grid,
        "directions": classes * directions * grid,
        "deviations": classes * directions,
        "remainder": classes * grid,
        "texture": classes * grid,
    }
    assert not list(prior.parameters())


def test_it_is_rebuilt_from_its_json_configuration_and_state():
    prior = ClassPrior.fit(planted(40), alternating(40), NAMES, floor=5, directions=3)
    again = ClassPrior(**json.loads(json.dumps(prior.config)))
    again.load_state_dict(prior.state_dict())
    assert torch.equal(prior.sample(alternating(6), seeded()), again.sample(alternating(6), seeded()))


@pytest.mark.parametrize("channels", [1, 3])
def test_streaming_gives_what_all_at_once_gives(channels):
    images, labels = planted(60).repeat(1, channels, 1, 1), alternating(60)
    whole = states(ClassPrior.fit(images, labels, NAMES))
    parts = states(ClassPrior.fit((part for part in images.split([1, 7, 30, 2, 20])), labels, NAMES))
    for key in whole:
        torch.testing.assert_close(parts[key], whole[key], atol=1e-6, rtol=0)
    for direction in whole["directions"].flatten(0, 1).flatten(1):  # or the sign would be chance
        assert direction.max() == direction.abs().max()


def test_only_a_bounded_number_of_images_is_held_and_gives_nearly_the_same(monkeypatch):
    images, labels = planted(300), torch.zeros(300, dtype=torch.long)
    whole = states(ClassPrior.fit(images, labels, ["a"]))
    monkeypatch.setattr(class_prior, "_SAMPLE", 100)
    held = []
    measure = class_prior._Tally.principal_directions
    monkeypatch.setattr(
        class_prior._Tally, "principal_directions", lambda t, limit: held.append(len(t.sample[0])) or measure(t, limit)
    )
    parts = [states(ClassPrior.fit(images.split(size), labels, ["a"])) for size in (300, 7)]
    assert held == [100, 100]
    for part in parts:
        torch.testing.assert_close(part["mean"], whole["mean"], atol=0.05, rtol=0)
        torch.testing.assert_close(part["texture"], whole["texture"])
        torch.testing.assert_close(part["deviations"][0, :2], whole["deviations"][0, :2], rtol=0.3, atol=0)
    torch.testing.assert_close(parts[0]["directions"], parts[1]["directions"], atol=1e-6, rtol=0)  # the same images


def test_bytes_are_images_too():
    images = ((planted(40).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    first = ClassPrior.fit(images, alternating(40), NAMES)
    second = ClassPrior.fit(images.double() / 127.5 - 1, alternating(40), NAMES)
    for key, value in states(first).items():
        torch.testing.assert_close(value, states(second)[key], atol=1e-5, rtol=1e-4)


def test_other_floating_point_formats_of_a_model_draw_float32():
    prior = ClassPrior.fit(planted(40), alternating(40), NAMES)
    exact = prior.sample(alternating(6), seeded())
    for dtype, near in ((torch.float64, 1e-6), (torch.bfloat16, 0.05)):
        drawn = prior.to(dtype).sample(alternating(6), seeded())
        assert drawn.dtype == torch.float32
        torch.testing.assert_close(drawn, exact, atol=near, rtol=0)
    prior = ClassPrior.fit(planted(40), alternating(40), NAMES)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prior.sample(alternating(6), seeded()), exact)


# -- whom it protects


def test_classes_below_the_floor_are_refused_with_names_counts_and_the_way_out():
    labels = torch.tensor([0] * 9 + [1] * 30 + [2] * 3)
    names = ["mild", "none", "μέτρια"]
    with pytest.raises(UserError, match=r"fewer than 10 images.*: mild \(9\), μέτρια \(3\); add images, merge labels"):
        ClassPrior.fit(noise(42), labels, names)
    assert ClassPrior.fit(noise(42), labels, names, floor=3).counts.tolist() == [9, 30, 3]
    with pytest.raises(UserError, match=r"fewer than 10 images.*: empty \(0\)"):
        ClassPrior.fit(noise(30), torch.zeros(30, dtype=torch.long), ["full", "empty"])


def test_images_of_too_few_people_in_all_are_refused():
    people = torch.arange(32) // 8  # 32 images of 4 people
    with pytest.raises(UserError, match=r"of only 4 people, fewer than 10, .*; add images of other people"):
        ClassPrior.fit(noise(32), torch.zeros(32, dtype=torch.long), ["a"], subjects=people)
    with pytest.raises(UserError, match=r"fewer than 10 images.*: b \(2\)"):
        ClassPrior.fit(noise(32), torch.tensor([0] * 30 + [1] * 2), ["a", "b"], subjects=torch.arange(32))


def assert_same_statistics(one: ClassPrior, label: int, other: ClassPrior, its_label: int) -> None:
    for key in ("mean", "directions", "deviations", "remainder", "texture"):
        torch.testing.assert_close(
            states(one)[key][label], states(other)[key][its_label], atol=1e-6, rtol=0, msg=lambda m, key=key: key + m
        )


def test_classes_of_few_people_have_the_statistics_of_all_together(caplog):
    images, labels = planted(90), torch.tensor([0] * 40 + [1] * 30 + [2] * 20)
    images[40:] += 0.2
    people = torch.cat([torch.arange(40), 100 + torch.arange(30) % 6, 200 + torch.arange(20) % 7])
    names = ["viele", "λίγοι", "wenige"]
    prior = ClassPrior.fit(images.clamp(-1, 1).split(11), labels, names, subjects=people)
    assert prior.pooled == prior.config["pooled"] == ["λίγοι", "wenige"]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "'λίγοι' has images of only 6 people" in caplog.text
    assert "'wenige' has images of only 7 people" in caplog.text
    assert prior.counts.tolist() == [40, 30, 20]
    images = images.clamp(-1, 1)
    whole = ClassPrior.fit(images, torch.zeros(90, dtype=torch.long), ["all"], subjects=people)
    alone = ClassPrior.fit(images[:40], labels[:40], names[:1], subjects=people[:40])
    assert_same_statistics(prior, 0, alone, 0)
    assert_same_statistics(prior, 1, whole, 0)
    assert_same_statistics(prior, 2, whole, 0)
    again = ClassPrior(**json.loads(json.dumps(prior.config)))
    again.load_state_dict(prior.state_dict())
    assert again.pooled == prior.pooled and again.config == prior.config


def test_nothing_of_a_single_person_can_be_told_from_the_whole_and_the_others():
    labels, people = torch.tensor([0] * 40 + [1] * 20), torch.arange(60).clamp(max=40)  # 20 images of one person
    images = planted(60)
    images[40:] = 0.05 * noise(20) + torch.nn.functional.interpolate(noise(1, 8, seed=9), size=32) / 2
    priors = [ClassPrior.fit(x, labels, NAMES, subjects=people) for x in (images, torch.cat([images[:40], noise(20)]))]
    assert priors[0].pooled == NAMES[1:] and priors[0].counts.tolist() == [40, 20]
    assert_same_statistics(priors[0], 1, priors[1], 1)
    assert_same_statistics(priors[0], 1, priors[0], 0)


def test_classes_of_few_people_may_be_many_together():
    labels, people = alternating(40), torch.arange(40) // 4 * 2 + alternating(40)
    prior = ClassPrior.fit(planted(40), labels, NAMES, floor=15, subjects=people)
    whole = ClassPrior.fit(planted(40), torch.zeros(40, dtype=torch.long), ["all"], floor=15, subjects=people)
    assert prior.pooled == NAMES and prior.counts.tolist() == [20, 20]
    assert_same_statistics(prior, 0, whole, 0)
    assert_same_statistics(prior, 1, whole, 0)


def test_nothing_is_pooled_where_people_are_enough_or_unknown(caplog):
    assert ClassPrior.fit(planted(40), alternating(40), NAMES).pooled == []
    assert ClassPrior.fit(planted(40), alternating(40), NAMES, subjects=torch.arange(40)).pooled == []
    assert not caplog.records


def test_a_bounded_sample_of_all_classes_is_as_random(monkeypatch):
    images, people = planted(300), torch.arange(300) // 30
    whole = ClassPrior.fit(images, torch.zeros(300, dtype=torch.long), ["all"], subjects=people)
    monkeypatch.setattr(class_prior, "_SAMPLE", 60)
    some = ClassPrior.fit(images, torch.zeros(300, dtype=torch.long), ["all"], subjects=people)
    pooled = ClassPrior.fit(images, torch.arange(300) // 100, ["a", *NAMES], subjects=people)
    assert pooled.pooled == ["a", *NAMES]
    assert_same_statistics(pooled, 0, some, 0)  # the very same images
    torch.testing.assert_close(pooled.texture[0], whole.texture[0])


def test_few_people_allow_few_directions():
    people = torch.arange(32) // 8
    prior = ClassPrior.fit(planted(32), torch.zeros(32, dtype=torch.long), ["a"], floor=4, subjects=people)
    assert prior.deviations.count_nonzero() <= 1


@pytest.mark.parametrize(("count", "most"), [(10, 1), (29, 2), (45, 4), (200, 8)])
def test_there_is_at_most_one_direction_for_floor_images(count, most):
    prior = ClassPrior.fit(noise(count), torch.zeros(count, dtype=torch.long), ["a"])
    used = prior.directions[0].flatten(1).norm(dim=1) > 0
    assert used.sum() <= most
    assert torch.equal(used, prior.deviations[0] > 0)


def change_by_one_image(count: int) -> dict[str, float]:
    """How far every stored statistic moves when one of ``count`` images becomes a checkerboard of black and white."""
    images, labels = planted(count), torch.zeros(count, dtype=torch.long)
    before = states(ClassPrior.fit(images, labels, ["a"], directions=2))
    board = torch.arange(8)[:, None].add(torch.arange(8)) % 2 * 2.0 - 1.0
    images[0] = board.repeat_interleave(4, 0).repeat_interleave(4, 1)
    after = states(ClassPrior.fit(images, labels, ["a"], directions=2))
    return {key: float((after[key] - before[key]).abs().max()) for key in before if key != "counts"}


def test_one_image_moves_what_is_stored_by_the_order_of_one_in_n():
    few, many = change_by_one_image(40), change_by_one_image(640)
    for key in ("mean", "directions", "deviations"):
        assert few[key] <= 2 / 40 and many[key] <= 2 / 640, key
        assert many[key] <= few[key] / 4, key
    for key in ("remainder", "texture"):  # these are roots of means
        assert many[key] <= few[key] / 2, key


def test_an_odd_image_leaves_no_ghost_in_the_mean():
    images, labels = 0.01 * noise(10), torch.zeros(10, dtype=torch.long)
    before = ClassPrior.fit(images, labels, ["a"]).mean
    images[3] = 1.0
    assert (ClassPrior.fit(images, labels, ["a"]).mean - before).abs().max() < 0.003  # a tenth in the plain mean


@pytest.mark.parametrize("count", [10, 20, 40, 100])
@pytest.mark.parametrize("clip", [True, False])
def test_an_outlier_is_no_direction(count, clip, monkeypatch):
    if not clip:  # then only the limit on shares is left
        monkeypatch.setattr(class_prior, "_MAX_DISTANCE", math.inf)
    images = 0.05 * noise(count)
    secret = torch.nn.functional.interpolate(noise(1, 8, seed=9).sign(), size=32)[0]
    images[3] = secret
    prior = ClassPrior.fit(images, torch.zeros(count, dtype=torch.long), ["a"])
    hidden = torch.nn.functional.adaptive_avg_pool2d(secret, 8).flatten()
    alike = (prior.directions[0].flatten(1) @ hidden / hidden.norm()).abs().max()
    assert alike < 0.6


def test_many_images_of_one_person_are_one_person_to_a_direction():
    images, labels = 0.05 * noise(100), torch.zeros(100, dtype=torch.long)
    images[:20] += 0.5 * torch.nn.functional.interpolate(noise(1, 8, seed=9), size=32)
    apart = ClassPrior.fit(images, labels, ["a"], directions=1)
    people = torch.arange(100)
    people[:20] = 0
    together = ClassPrior.fit(images, labels, ["a"], directions=1, subjects=people)
    assert apart.deviations[0, 0] > 0 and together.deviations[0, 0] == 0


# -- wrong input


def test_wrong_input_is_refused_in_one_sentence():
    labels = alternating(40)
    with pytest.raises(UserError, match="range -1 to 1"):
        ClassPrior.fit(noise(40) * 100, labels, NAMES)
    with pytest.raises(UserError, match="range -1 to 1"):
        ClassPrior.fit(noise(40) * math.nan, labels, NAMES)
    with pytest.raises(UserError, match=r"one for every image"):
        ClassPrior.fit(noise(40), labels[:30], NAMES)
    with pytest.raises(UserError, match=r"one for every image"):
        ClassPrior.fit(noise(30), labels, NAMES)
    with pytest.raises(UserError, match=r"one for every image"):
        ClassPrior.fit(iter(()), labels, NAMES)
    with pytest.raises(UserError, match="40 labels but 3 people"):
        ClassPrior.fit(noise(40), labels, NAMES, subjects=torch.arange(3))
    with pytest.raises(UserError, match=r"Labels must be 0 to 0"):
        ClassPrior.fit(noise(40), labels, NAMES[:1])
    with pytest.raises(UserError, match=r"shape \(1, 32, 32\) of the first, not \(1, 48, 48\)"):
        ClassPrior.fit(iter([noise(20), noise(20, 48)]), labels, NAMES)
    with pytest.raises(UserError, match=r"shape \(1, 32, 32\) of the first, not \(1, 48, 32\)"):
        ClassPrior.fit(torch.zeros(40, 1, 48, 32), labels, NAMES)
    with pytest.raises(UserError, match="multiple of 16, not 40"):
        ClassPrior.fit(noise(40, 40), labels, NAMES)
    with pytest.raises(UserError, match="floor >= 1"):
        ClassPrior(32, 1, NAMES, floor=0)
    with pytest.raises(UserError, match="some of the prior's own, not somebody"):
        ClassPrior(32, 1, NAMES, pooled=[NAMES[0], "somebody"])
