"""Templates cut out of records and windows of others: where they look, and what alike means."""

from __future__ import annotations

import math

import pytest
import torch
from structures import smooth

from mmgen.evaluation.privacy.disguises.alignment import warped
from mmgen.evaluation.privacy.disguises.forms import picture_form, sound_form
from mmgen.evaluation.privacy.disguises.windows import Windows

FORMS = {"picture": picture_form(), "sound": sound_form()}
TEMPLATES = {
    f"{name} {number}": templates
    for name, form in FORMS.items()
    for number, templates in enumerate((form.coarse, form.fine, *form.views))
}


@pytest.mark.parametrize("templates", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_and_a_window_that_show_the_same_place_are_alike(templates) -> None:
    """A record seen through the map that leads from a template to a window; by that map it is then found."""
    references = smooth(12, seed=3)
    windows = Windows(templates, references)
    windows.add(references[:7])
    windows.add(references[7:])
    for template, window in ((0, 0), (len(templates.linear) - 1, len(templates.offset) // 2)):
        transform = templates.transforms(torch.tensor([template]), torch.tensor([window])).expand(12, -1, -1)
        moved, inside = warped(references, transform)
        queries = windows.queries(moved)
        alike = windows.likeness(queries)
        assert alike.shape == (12, 12)
        if inside.mean() > 0.6 and not templates.by_distance:
            assert torch.equal(alike.argmax(1), torch.arange(12))
        scores, maps = windows.places(queries, torch.arange(12)[:, None])
        torch.testing.assert_close(scores[:, 0], alike.diagonal(), rtol=0, atol=1e-3)
        if inside.mean() > 0.9:
            assert ((maps[:, 0] - transform).abs().amax((1, 2)) < 1e-5).float().mean() > 0.7


def test_whitening_tells_an_average_of_two_from_others() -> None:
    """What all records have in common says nothing; two that are averaged stand out as both."""
    references = 0.2 * smooth(60, seed=4) + 0.8 * smooth(1, seed=5)
    mixed = (references[:20] + references[20:40]) / 2
    whole, plain = (Windows(FORMS["picture"].views[number], references) for number in (0, 2))
    for windows in (whole, plain):
        windows.add(references)
    alike = whole.likeness(whole.queries(mixed))
    both = alike.topk(2, 1).indices.sort(1).values
    assert torch.equal(both, torch.stack([torch.arange(20), torch.arange(20, 40)], 1))
    assert (alike.sort(1).values[:, -2] > 2 * alike.sort(1).values[:, -3]).all()


def test_whitened_and_textured_views_know_no_sign_and_distances_do() -> None:
    references = smooth(9, seed=6)
    for templates in FORMS["picture"].views:
        windows = Windows(templates, references)
        windows.add(references)
        same, inverted = (windows.likeness(windows.queries(x)).diagonal() for x in (references, 255 - references))
        assert torch.allclose(same, inverted, atol=0.02) is not templates.by_distance
        if not templates.by_distance:
            assert (same > 1.0).all()


def test_likeness_by_distance_is_its_logarithm() -> None:
    references = smooth(5, seed=7).expand(-1, 3, -1, -1)
    windows = Windows(FORMS["picture"].views[2], references)
    windows.add(references)
    alike = windows.likeness(windows.queries((references + 20).clamp_max(275)))
    assert alike.diagonal().tolist() == pytest.approx([-0.5 * math.log(401)] * 5, abs=0.01)
