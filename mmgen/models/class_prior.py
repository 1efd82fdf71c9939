"""Class priors, which a shareable generator starts from: draws from statistics of whole classes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmgen.errors import UserError, first_few
from mmgen.models.images import check_images, to_unit_range
from mmgen.models.prior import Prior

logger = logging.getLogger(__name__)

GRID = 8
"""Side of the reduced images whose statistics are stored."""
_SAMPLE = 4096  # plenty for a few directions, and a bounded memory
_MAX_DISTANCE = 2.0
_MAX_SHARE = 0.2


class ClassPrior(Prior):
    """Random images of a class from a few statistics of that class, so that a receiver needs no real image.

    A draw is the class mean of 8 x 8 pixels, plus a few principal directions with normal coefficients, plus white noise
    for the rest of the variance at that size, enlarged; plus pink noise above that band, in every place as strong as
    the class's detail is there.

    Everything that is stored, K classes, C channels, D directions, 8 x 8 grids, besides the configuration:

    * ``counts`` (K,): images of each class.
    * ``mean`` (K, C, 8, 8): mean reduced image.
    * ``directions`` (K, D, C, 8, 8): principal directions of the reduced images, of length 1; zeros where not used.
    * ``deviations`` (K, D): standard deviations along them.
    * ``remainder`` (K, C, 8, 8): standard deviation of every reduced pixel in what the directions leave.
    * ``texture`` (K, C, 8, 8): root mean square of the detail above that size, around every reduced pixel.

    For a class in ``pooled`` all but ``counts`` are the statistics of all classes together, the same for every such
    class: it has images of fewer than ``floor`` people, and its own mean could be one person's. Its draws do not tell
    it from other pooled classes. Where the pooled classes have fewer than ``floor`` people between them, "all classes"
    are all the others, since the difference between the whole and the others would be those few people's mean.

    All but ``counts`` and ``texture`` are measured on at most 4096 images of a class, chosen at random.

    No coefficient of any image is stored. What keeps one person out of these numbers: every class needs ``floor``
    images, what is measured comes from ``floor`` people at least (each image counts as a person where people are not
    known), with at most one direction for ``floor`` subjects. An image further from the middle (the median image) than
    twice the median distance is moved up to there before anything but ``texture`` is measured; otherwise a single odd
    image would pull the mean and show in a direction. A direction of whose variance one person makes up more than a
    fifth is dropped, since it would be little else than that person's reduced image; its variance goes to the
    remainder. So an image's effect on what is stored (the squares of ``remainder`` and ``texture``) falls as 1 / n, n
    images in the class; a person with most of a class's images still makes most of its mean. This is not differential
    privacy.

    Args:
        image_size: side of the images in pixels, a multiple of 16 from 32 to 256.
        channels: 1 or 3.
        class_names: names of the labels.
        floor: least images in a class, and least people behind its statistics.
        directions: D, the most principal directions a class may have.
        pooled: those of ``class_names`` that have the statistics of all classes together.

    Raises:
        UserError: settings that are not offered.
    """

    kind = "class"
    origin = "class"

    def __init__(
        self,
        image_size: int,
        channels: int,
        class_names: Sequence[str],
        floor: int = 10,
        directions: int = 8,
        pooled: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_images(image_size, channels)
        if floor < 1 or directions < 0:
            raise UserError(f"A class prior needs floor >= 1 and directions >= 0, not {floor} and {directions}.")
        if unknown := sorted(set(pooled) - set(class_names)):
            raise UserError(f"Pooled classes are some of the prior's own, not {first_few(unknown)}.")
        self.config = {"image_size": image_size, "channels": channels, "class_names": list(class_names)}
        self.config |= {"floor": floor, "directions": directions, "pooled": list(pooled)}
        classes, grid = len(class_names), (channels, GRID, GRID)
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.long))
        self.register_buffer("mean", torch.zeros(classes, *grid))
        self.register_buffer("directions", torch.zeros(classes, directions, *grid))
        self.register_buffer("deviations", torch.zeros(classes, directions))
        self.register_buffer("remainder", torch.zeros(classes, *grid))
        self.register_buffer("texture", torch.zeros(classes, *grid))
        # (H, W / 2 + 1) gains that make white noise pink (1 / f) above the band of an 8 x 8 image, with variance 1.
        cycles = torch.fft.fftfreq(image_size, 1.0 / image_size)
        down, right = cycles[:, None].abs(), cycles[None].abs()
        gain = torch.where(torch.maximum(down, right) > GRID // 2, 1.0 / torch.hypot(down, right).clamp_min(1.0), 0.0)
        gain = (gain / gain.square().mean().sqrt())[:, : image_size // 2 + 1]
        self.register_buffer("pink", gain, persistent=False)

    @property
    def pooled(self) -> list[str]:
        """Names of the classes that have the statistics of all classes together."""
        return self.config["pooled"]

    @classmethod
    def fit(
        cls,
        images: Tensor | Iterable[Tensor],
        labels: Tensor,
        class_names: Sequence[str],
        floor: int = 10,
        directions: int = 8,
        subjects: Tensor | None = None,
    ) -> ClassPrior:
        """Statistics of all images in one pass; memory does not grow with the number of images.

        Args:
            images: all images (N, C, H, W), or chunks (n, C, H, W) of them in order: float in [-1, 1], or uint8 for
                0..255.
            labels: classes (N,), 0 to K - 1.
            class_names: K names.
            floor: least images in a class, and least people behind its statistics.
            directions: the most principal directions a class may have.
            subjects: whose image it is, any integers (N,). A class of fewer than ``floor`` people is pooled (a warning
                names it). None counts every image as another person, which several images of one person would make
                untrue.

        Raises:
            UserError: a class with too few images, or too few people in all; or images, labels and names that do not
                fit together.
        """
        labels = labels.cpu()
        subjects = torch.arange(len(labels)) if subjects is None else subjects.cpu()
        if len(subjects) != len(labels):
            numbers = f"{len(labels)} labels but {len(subjects)} people"
            raise UserError(f"There are {numbers}; give one of each for every image.")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(class_names):
            raise UserError(f"Labels must be 0 to {len(class_names) - 1} for {len(class_names)} class names.")
        tallies = [_Tally() for _ in class_names]
        draws = torch.Generator().manual_seed(0)
        prior, done = None, 0
        for chunk in images.split(256) if isinstance(images, Tensor) else images:
            if prior is None:
                prior = cls(chunk.shape[-1], chunk.shape[1], class_names, floor, directions)
            reduced, detail = prior._measure(to_unit_range(chunk))
            keys = torch.rand(len(chunk), generator=draws, dtype=torch.float64)
            rows, done = slice(done, done + len(chunk)), done + len(chunk)
            if done > len(labels):
                break
            for label in labels[rows].unique().tolist():
                own = labels[rows] == label
                owners = subjects[rows][own]
                sample = (reduced[own].flatten(1), owners, keys[own])
                tallies[label].add(len(owners), detail[own].sum(0), set(owners.tolist()), sample)
        if prior is None or done != len(labels):
            raise UserError(f"There are {len(labels)} labels for another number of images; give one for every image.")
        prior.counts.copy_(torch.tensor([tally.count for tally in tallies]))
        for label, tally in enumerate(prior._pool(tallies)):
            prior._store(label, tally)
        return prior

    @torch.no_grad()
    def sample(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """See :meth:`Prior.sample`; all random numbers are drawn on the CPU."""
        labels, (_, directions, *grid) = labels.to(self.mean.device), self.directions.shape
        draws = torch.randn(len(labels), directions, generator=generator).to(labels.device)
        along = draws * self.deviations[labels].float()
        coarse = (along[..., None, None, None] * self.directions[labels].float()).sum(1)
        coarse += self.mean[labels].float()
        draws = torch.randn(len(labels), *grid, generator=generator).to(labels.device)
        coarse += draws * self.remainder[labels].float()
        return self._with_noise(coarse, labels, generator)

    @torch.no_grad()
    def conceal(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Draws whose coarse part is that of these images: (B, C, H, W) in [-1, 1] -> the same.

        A generator that learns to restore the images from it knows what to make of a draw.
        """
        images, labels = images.to(self.mean.device), labels.to(self.mean.device)
        return self._with_noise(F.adaptive_avg_pool2d(images.float(), GRID), labels, generator)

    def _with_noise(self, coarse: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Enlarged (B, C, 8, 8), plus pink noise as strong as the detail of its class."""
        size = self.config["image_size"]
        white = torch.randn(len(coarse), coarse.shape[1], size, size, generator=generator).to(coarse.device)
        pink = torch.fft.irfft2(torch.fft.rfft2(white) * self.pink.float(), s=(size, size))
        return (self._enlarge(coarse) + self._enlarge(self.texture[labels].float()) * pink).clamp(-1.0, 1.0)

    def _enlarge(self, coarse: Tensor) -> Tensor:
        return F.interpolate(coarse, size=self.config["image_size"], mode="bilinear")

    def _measure(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) -> reduced images and mean square of the detail above them, float64 (n, C, 8, 8) on the CPU."""
        size, channels = self.config["image_size"], self.config["channels"]
        if (shape := tuple(images.shape[1:])) != (channels, size, size):
            raise UserError(f"All images must have the shape {(channels, size, size)} of the first, not {shape}.")
        if not (images.abs() <= 1.0).all():  # not a number is not in the range either
            raise UserError("A class prior needs images in the range -1 to 1, or bytes; scale them first.")
        reduced = F.adaptive_avg_pool2d(images, GRID)
        detail = F.adaptive_avg_pool2d((images - self._enlarge(reduced)).square(), GRID)
        return reduced.cpu().double(), detail.cpu().double()

    def _pool(self, tallies: Sequence[_Tally]) -> list[_Tally]:
        """The images behind each class's statistics: its own, or, with too few people, all that may be pooled."""
        floor, by_name = self.config["floor"], dict(zip(self.config["class_names"], tallies, strict=True))
        if scarce := [f"{name} ({tally.count})" for name, tally in by_name.items() if tally.count < floor]:
            raise UserError(
                f"Some classes have fewer than {floor} images, too few to hide any of them in: {first_few(scarce)}; "
                "add images, merge labels, or lower the floor knowingly."
            )
        few = {name: tally for name, tally in by_name.items() if len(tally.subjects) < floor}
        if not few:
            return list(tallies)
        n_subjects = len(set().union(*(tally.subjects for tally in tallies)))
        if n_subjects < floor:
            raise UserError(
                f"All images together are of only {n_subjects} people, fewer than {floor}, too few to hide any of them "
                "in; add images of other people, or lower the floor knowingly."
            )
        self.config["pooled"] = list(few)
        warning = (
            "The class '%s' has images of only %d people, fewer than %d: it starts from the statistics of all classes "
            "together."
        )
        for name, tally in few.items():
            logger.warning(warning, name, len(tally.subjects), floor)
        # The statistics of the other classes are stored, too: the whole less these must not be a few people's.
        all_count = len(set().union(*(tally.subjects for tally in few.values()))) >= floor
        whole = _Tally()
        for tally in tallies:
            if all_count or len(tally.subjects) >= floor:
                whole.add(tally.count, tally.detail, tally.subjects, tally.sample)
        return [whole if len(tally.subjects) < floor else tally for tally in tallies]

    def _store(self, label: int, tally: _Tally) -> None:
        self.texture[label] = (tally.detail / tally.count).sqrt()
        limit = min(self.directions.shape[1], len(tally.subjects) // self.config["floor"])
        mean, directions, deviations, remainder = tally.principal_directions(limit)
        self.mean[label] = mean.view_as(self.mean[label])
        self.directions[label, : len(directions)] = directions.view(-1, *self.mean.shape[1:])
        self.deviations[label, : len(directions)] = deviations
        self.remainder[label] = remainder.view_as(self.remainder[label])


class _Tally:
    """Statistics of one class while its images pass by.

    Of single images it holds at most ``_SAMPLE`` reduced ones, chosen at random; they are dropped after the fit.
    """

    def __init__(self) -> None:
        self.count = 0
        self.detail = torch.zeros((), dtype=torch.float64)
        self.subjects: set[int] = set()
        self.sample: tuple[Tensor, ...] | None = None

    def add(self, count: int, detail: Tensor, subjects: set[int], sample: tuple[Tensor, ...]) -> None:
        """Further images: their number, the sum of their mean squares of detail (C, 8, 8), whose they are, and a sample
        of reduced images (n, P), subjects (n,) and random numbers (n,), the least of which stay."""
        self.count += count
        self.detail = self.detail + detail
        self.subjects |= subjects
        if self.sample is not None:
            sample = tuple(torch.cat(parts) for parts in zip(self.sample, sample, strict=True))
        chosen = sample[2].argsort()[:_SAMPLE].sort().values
        self.sample = tuple(part[chosen] for part in sample)

    def principal_directions(self, limit: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean (P,), at most ``limit`` directions (D', P), deviations along them (D',) and what they leave (P,).

        P are the C * 64 numbers of a reduced image; all in float64.
        """
        reduced, subjects, _ = self.sample
        middle = reduced.median(0).values
        offset = reduced - middle
        distance = offset.norm(dim=1, keepdim=True)
        offset *= (_MAX_DISTANCE * distance.median() / distance.clamp_min(1e-12)).clamp(max=1.0)
        mean = middle + offset.mean(0)
        offset -= offset.mean(0)
        vectors = torch.linalg.eigh(offset.T @ offset).eigenvectors.flip(1)[:, :limit]
        energy = (offset @ vectors).square()
        owners, owner = subjects.unique(return_inverse=True)
        by_person = energy.new_zeros(len(owners), vectors.shape[1]).index_add(0, owner, energy)
        vectors = vectors[:, by_person.amax(0) / energy.sum(0) <= _MAX_SHARE]  # 0 / 0, no variance, is not kept either
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()  # either sign would do
        along = offset @ vectors
        remainder = (offset - along @ vectors.T).square().mean(0).sqrt()
        return mean, vectors.T, along.square().mean(0).sqrt(), remainder
