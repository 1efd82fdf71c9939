"""The attention-based generator of MedSynth and its critic (MedSynth paper, section 3.1); losses are in
:mod:`mmgen.models.gan_losses`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import register_parametrization

from mmgen.errors import UserError
from mmgen.models.images import check_images

_HEADS = 4
_MEMORY_SIDE = 14


def _check_batch(x: Tensor, image_size: int, channels: int) -> None:
    if x.ndim != 4 or tuple(x.shape[1:]) != (channels, image_size, image_size):
        expected = f"(B, {channels}, {image_size}, {image_size})"
        raise UserError(f"A batch of images must have the shape {expected}, not {(*x.shape,)}.")


# -- generator


class Generated(NamedTuple):
    """Output of the generator, float32.

    Attributes:
        s: synthetic images (B, C, H, W) in [-1, 1], a * x + (1 - a) * g (equation 1).
        g: generated images (B, C, H, W) in [-1, 1].
        a: attention masks (B, 1, H, W) in [0, 1]: the share of the input in the output.
    """

    s: Tensor
    g: Tensor
    a: Tensor


class AttentionGenerator(nn.Module):
    """Turns an input image x and a label into a synthetic image.

    An encoder reduces the features to a quarter of the input's side, residual attention blocks transform them, and a
    decoder with two outputs enlarges them again. The matrix of every convolution and projection has spectral norm 1
    instead of batch normalisation, and starts orthogonal: then all of its singular values are 1, not only the largest,
    and features do not fade with depth. Autocast is safe: the norms are found to about 1e-4 in bf16.

    The mask starts at about 0.25. Near 1 is the optimum to stay away from, where the input is handed through; below one
    half most of the gradient goes to g. Near 0 the sigmoid would be flat, and the input's variety could not be seen.

    Args:
        image_size: side of the square images in pixels, a multiple of 16 from 32 to 256.
        channels: 1 (grey) or 3 (RGB).
        classes: number of labels.
        width: channels of the features at full size; there are four times as many at a quarter of the side.
        blocks: residual attention blocks, six in the paper.

    Raises:
        UserError: an image size or channel count that is not offered.
    """

    def __init__(self, image_size: int, channels: int, classes: int, width: int = 64, blocks: int = 6) -> None:
        super().__init__()
        check_images(image_size, channels)
        self.config = {"image_size": image_size, "channels": channels, "classes": classes}
        self.config |= {"width": width, "blocks": blocks}
        first, middle = (_conv(channels, width), nn.ReLU()), (_conv(width, 2 * width, halve=True), nn.ReLU())
        self.encoder = nn.Sequential(*first, *middle, _conv(2 * width, 4 * width, halve=True))
        self.blocks = nn.ModuleList(ResidualAttentionBlock(4 * width, classes, image_size // 4) for _ in range(blocks))
        layers: list[nn.Module] = []
        for inputs in (4 * width, 2 * width):
            layers += [nn.ReLU(), nn.Upsample(scale_factor=2), _conv(inputs, inputs // 2)]
        self.decoder = nn.Sequential(*layers, nn.ReLU())
        self.to_image = _conv(width, channels)
        self.to_mask = _conv(width, 1)
        nn.init.constant_(self.to_mask.bias, math.log(0.25 / (1.0 - 0.25)))  # a mask of 0.25

    def forward(self, x: Tensor, labels: Tensor) -> Generated:
        """Synthetic images of the given classes.

        Args:
            x: input images (B, C, H, W) in [-1, 1].
            labels: classes (B,), 0 to ``classes`` - 1.

        Raises:
            UserError: images of another shape.
        """
        _check_batch(x, self.config["image_size"], self.config["channels"])
        features = self.encoder(x)
        for block in self.blocks:
            features = block(features, labels)
        features = self.decoder(features)
        g = self.to_image(features).float().tanh()
        a = self.to_mask(features).float().sigmoid()
        return Generated(a * x.float() + (1.0 - a) * g, g, a)


class ResidualAttentionBlock(nn.Module):
    """Two convolutions that know the class, then attention over the whole map; each is added to its input.

    Attention is added through a learnable gate that starts small: untrained, it gives every place the mean of the map,
    and six such blocks would drown the image in it.
    """

    def __init__(self, dim: int, classes: int, side: int) -> None:
        super().__init__()
        self.first = _conv(dim, dim)
        self.modulation = ClassModulation(dim, classes)
        self.second = _conv(dim, dim)
        self.attention = PooledAttention(dim, side)
        self.gate = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(B, D, h, w), (B,) -> (B, D, h, w)."""
        x = x + self.second(self.modulation(self.first(x.relu()), labels).relu())
        return x + self.gate * self.attention(x)


class ClassModulation(nn.Module):
    """Scales and shifts every feature by class (FiLM, Perez et al. 2018).

    The table of scales and shifts has no spectral normalisation: its norm belongs to all classes together, so training
    a frequent class would shrink the rows of a rare one. Instead the scale is bounded, 1 + tanh in (0, 2), so that no
    class can undo the bound of the convolutions beside it; a shift leaves that bound alone.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.table = nn.Embedding(classes, 2 * dim)
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """(B, D, h, w), (B,) -> (B, D, h, w)."""
        scale, shift = self.table(labels).to(x.dtype)[..., None, None].chunk(2, dim=1)
        return x * (1.0 + scale.tanh()) + shift


class PooledAttention(nn.Module):
    """Every place of a feature map asks all of the map, which answers at a reduced size of at most 14 x 14.

    So every place still reaches every other, and cost grows with the number of places instead of its square, which is
    what makes six of these affordable: at 224 pixels the map has 3136 places. Full attention costs many times as much
    there, even where a fused kernel spares its memory; linear attention costs no less than this and has no softmax,
    hence no sharp focus. Short memories are exact: maps of up to 14 x 14 are not reduced at all.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.reduce = math.ceil(side / _MEMORY_SIDE)
        # One matrix each, because a joint one would share its norm between the three. Biases of keys and queries have
        # next to no use, those of values are the same as the last one.
        self.query, self.key, self.value = (_bounded(nn.Linear(dim, dim, bias=False)) for _ in range(3))
        self.proj = _bounded(nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, h, w)."""
        places = rearrange(x, "b d h w -> b (h w) d")
        memory = rearrange(F.avg_pool2d(x, self.reduce, ceil_mode=True), "b d h w -> b (h w) d")
        # Features come last, side by side in memory: otherwise the fused kernel silently gives way to one that keeps a
        # weight for every pair of places.
        q, k, v = (
            rearrange(tokens, "b n (heads d) -> b heads n d", heads=_HEADS)
            for tokens in (self.query(places), self.key(memory), self.value(memory))
        )
        attended = rearrange(F.scaled_dot_product_attention(q, k, v), "b heads n d -> b n (heads d)")
        return rearrange(self.proj(attended), "b (h w) d -> b d h w", h=x.shape[2])


def _conv(inputs: int, outputs: int, halve: bool = False) -> nn.Module:
    """A convolution with spectral norm 1 that keeps the side or halves it."""
    return _bounded(nn.Conv2d(inputs, outputs, 4, 2, 1) if halve else nn.Conv2d(inputs, outputs, 3, 1, 1))


def _bounded(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Spectral normalisation (Miyato et al. 2018) from an orthogonal start; biases are zero."""
    if layer.weight.is_meta:  # only the form is wanted, and a start of all layers takes seconds there
        register_parametrization(layer, "weight", _SpectralForm(layer.weight), unsafe=True)
        return layer
    nn.init.orthogonal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer)


class _SpectralForm(nn.Module):
    """The buffers of a spectral normalisation, as they are called there, and nothing of what it does."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        outputs, inputs = weight.flatten(1).shape
        self.register_buffer("_u", weight.new_empty(outputs))
        self.register_buffer("_v", weight.new_empty(inputs))

    def forward(self, weight: Tensor) -> Tensor:
        return weight


# -- critic


class Critique(NamedTuple):
    """Output of the critic for a batch, float32: ``score`` (B,), high for real, and class ``logits`` (B, classes)."""

    score: Tensor
    logits: Tensor


class Critic(nn.Module):
    """Nine convolutions and two fully connected heads: how real an image is, and of which class.

    The class head learns from real images by cross-entropy in the critic's step and teaches the generator by the same
    in the generator's step (AC-GAN). There is no batch normalisation, because the gradient penalty belongs to each
    image alone, and no fused attention, because it needs a second derivative. It computes in float32 under autocast
    too: the losses are small differences of scores.

    As many convolutions halve the side as leave 4 to 7 places; the others keep it, at the small sizes first, where they
    are cheap and see far. The heads see places, not their average, since anatomy has its place.

    Args:
        image_size, channels, classes: as for :class:`AttentionGenerator`.
        width: channels after the first convolution; they double with every halving, up to eight times the width.

    Raises:
        UserError: an image size or channel count that is not offered.
    """

    def __init__(self, image_size: int, channels: int, classes: int, width: int = 64) -> None:
        super().__init__()
        check_images(image_size, channels)
        self.config = {"image_size": image_size, "channels": channels, "classes": classes, "width": width}
        halvings = int(math.log2(image_size // 4))
        keeping = 8 - halvings
        pairs = min(keeping, halvings)
        strides = [1] + [2] * (halvings - pairs) + [1, 2] * pairs + [1] * (keeping - pairs)
        layers: list[nn.Module] = []
        inputs, outputs = channels, width
        for stride in strides:
            if stride == 2:
                outputs = min(2 * outputs, 8 * width)
            layers += [nn.Conv2d(inputs, outputs, 2 + stride, stride, 1), nn.LeakyReLU(0.2)]
            inputs = outputs
        self.features = nn.Sequential(*layers, nn.Flatten())
        places = (image_size >> halvings) ** 2
        self.score = nn.Linear(places * outputs, 1)
        self.classify = nn.Linear(places * outputs, classes)
        self.apply(start_level)

    def forward(self, images: Tensor) -> Critique:
        """Images (B, C, H, W) in [-1, 1] -> :class:`Critique`.

        Raises:
            UserError: images of another shape.
        """
        _check_batch(images, self.config["image_size"], self.config["channels"])
        with torch.autocast(images.device.type, enabled=False):
            features = self.features(images.float())
            return Critique(self.score(features).squeeze(1), self.classify(features))


def start_level(layer: nn.Module) -> None:
    """Weights with which features keep their size from layer to layer, where no normalisation restores it."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(layer.weight, a=0.2 if isinstance(layer, nn.Conv2d) else 1.0)
        nn.init.zeros_(layer.bias)
