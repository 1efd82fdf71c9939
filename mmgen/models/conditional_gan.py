"""The convolutional GAN of DCGAN (Radford et al. 2016), told which class to make: the generator that DCGAN and DiM
keep, and its discriminator."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.models.attention_gan import Critique, start_level
from mmgen.models.condensed import BATCH, CondensedModel
from mmgen.models.images import check_images, to_bytes
from mmgen.models.seeds import torch_stream
from mmgen.names import MethodName

Norm = Literal["batch", "none"]


def halvings(image_size: int) -> int:
    """How often a side is halved until it is 4 to 7 or odd: 4 times from 64 to 4, 5 times from 224 to 7."""
    times = 0
    while image_size % 2 == 0 and image_size >= 8:
        image_size, times = image_size // 2, times + 1
    return times


class ConditionalGenerator(CondensedModel):
    """Makes an image of a class from noise, any number of them.

    The layers are DCGAN's: from 4 to 7 places (see :func:`halvings`) every transposed convolution of kernel 4 and
    stride 2 doubles the side, with batch normalisation and ReLU between and tanh at the end. The class takes the place
    of the first entries of the noise, as in DiM (Wang et al. 2023).

    Args:
        image_size: side of the square images in pixels, a multiple of 16 from 32 to 256.
        channels: 1 (grey) or 3 (RGB).
        class_names: names of the labels.
        method: the method that trains it, such as "dcgan" or "dim".
        noise: entries of the noise, of which one a class is replaced.
        width: channels before the last layer; twice as many with every layer before it, up to eight times the width.

    Raises:
        UserError: sizes or a method that are not offered, or more classes than half of the noise.
    """

    kind = "conditional_gan"
    origin = "noise"

    def __init__(
        self,
        image_size: int,
        channels: int,
        class_names: Sequence[str],
        method: MethodName = "dcgan",
        noise: int = 128,
        width: int = 64,
    ) -> None:
        super().__init__()
        check_images(image_size, channels)
        if method not in get_args(MethodName):
            methods = " or ".join(get_args(MethodName))
            raise UserError(f"A conditional generator is made by {methods}, not {method!r}.")
        if len(class_names) > noise // 2:
            raise UserError(
                f"{len(class_names)} classes leave too little of {noise} entries of noise; "
                f"give at least {2 * len(class_names)}."
            )
        self.method, self.class_names, self.noise = method, tuple(class_names), noise
        self.config = {"image_size": image_size, "channels": channels, "class_names": list(class_names)}
        self.config |= {"method": method, "noise": noise, "width": width}
        doublings = halvings(image_size)
        widths = [min(2**power, 8) * width for power in reversed(range(doublings))]
        start = image_size >> doublings
        layers = [nn.ConvTranspose2d(noise, widths[0], start, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1))
        _start_as_dcgan(self)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Images of the given classes.

        Args:
            noise: (B, noise), standard normal; its first entries, one a class, are not looked at.
            labels: classes (B,).

        Returns:
            (B, C, H, W) float32 in [-1, 1].
        """
        classes = len(self.class_names)
        x = torch.cat([F.one_hot(labels, classes).to(noise.dtype), noise[:, classes:]], dim=1)
        return self.layers(x[:, :, None, None]).float().tanh()

    def make_batch(self, label: int, batch: int, seed: int) -> Tensor:
        """A batch from noise of its own."""
        self.eval()  # batch normalisation by what :meth:`settle` has found, so that an image does not depend on others
        device = next(self.parameters()).device
        noise = torch.randn(BATCH, self.noise, generator=torch_stream(seed, label, batch))
        return to_bytes(self(noise.to(device), torch.full((BATCH,), label, device=device))).cpu()

    @torch.no_grad()
    def start_from(self, colour: Sequence[float]) -> None:
        """Let an untrained generator's images be of this colour, 0 to 255 a channel, which it need not find then."""
        self.layers[-1].bias.copy_(torch.tensor(colour).div(127.5).sub(1.0).clamp(-0.95, 0.95).atanh())

    @torch.no_grad()
    def settle(self, seed: int = 0, batches: int = 8, batch_size: int = 64) -> None:
        """Let batch normalisation use the statistics of these very weights, over all classes equally; ends in
        evaluation mode.

        What training leaves are the statistics of earlier weights and, beside a moving average of weights, of others.
        """
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        usual = [norm.momentum for norm in norms]
        draws, device = torch_stream(seed, batches), next(self.parameters()).device
        labels = (torch.arange(batch_size) % len(self.class_names)).to(device)
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        self.train()
        for _ in range(batches):
            self(torch.randn(batch_size, self.noise, generator=draws).to(device), labels)
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
        self.eval()


class ConditionalDiscriminator(nn.Module):
    """How real an image is and of which class: the generator's layers the other way round, with LeakyReLU.

    DCGAN's has batch normalisation in all layers but the first. A critic under a gradient penalty has none, because the
    penalty belongs to each image alone. It computes in float32 under autocast too.

    Args:
        image_size, channels: as for :class:`ConditionalGenerator`.
        classes: number of labels.
        width: channels after the first convolution; they double with every further one, up to eight times the width.
        norm: "batch" or "none".

    Raises:
        UserError: sizes or a normalisation that are not offered.
    """

    def __init__(self, image_size: int, channels: int, classes: int, width: int = 64, norm: Norm = "batch") -> None:
        super().__init__()
        check_images(image_size, channels)
        if norm not in get_args(Norm):
            raise UserError(f"The discriminator's normalisation is {' or '.join(get_args(Norm))}, not {norm!r}.")
        self.config = {"image_size": image_size, "channels": channels, "classes": classes}
        self.config |= {"width": width, "norm": norm}
        times = halvings(image_size)
        widths = [channels, *(min(2**power, 8) * width for power in range(times))]
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(itertools.pairwise(widths)):
            normed = norm == "batch" and number > 0
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=not normed))
            layers += [nn.BatchNorm2d(after)] if normed else []
            layers.append(nn.LeakyReLU(0.2))
        self.features = nn.Sequential(*layers, nn.Flatten())
        places = (image_size >> times) ** 2
        self.score = nn.Linear(places * widths[-1], 1)
        self.classify = nn.Sequential(nn.Linear(places * widths[-1], classes))
        if norm == "batch":
            _start_as_dcgan(self)
        else:
            # Scores of a Wasserstein critic drift and grow, and the features with them; classes would be lost in that.
            self.classify.insert(0, nn.LayerNorm(places * widths[-1], elementwise_affine=False))
            self.apply(start_level)

    def forward(self, images: Tensor) -> Critique:
        """Images (B, C, H, W) in [-1, 1] -> :class:`Critique`."""
        with torch.autocast(images.device.type, enabled=False):
            features = self.features(images.float())
            return Critique(self.score(features).squeeze(1), self.classify(features))


def _start_as_dcgan(model: nn.Module) -> None:
    """Weights N(0, 0.02), those of batch normalisation N(1, 0.02), biases 0."""
    for layer in model.modules():
        if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            nn.init.normal_(layer.weight, float(isinstance(layer, nn.BatchNorm2d)), 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
