"""What a training step costs, beside other libraries' at equal sizes and beside this machine's own matrix rate.

Networks: the plain masked autoencoder (ViT-S/16, decoder of eight layers, 512 wide, as in transformers'
``ViTMAEConfig``), and a preset's networks of two modalities, plain and denoising. Peers are transformers'
``ViTMAEForPreTraining`` and, where it is installed (``pip install lightly``), lightly's; both get normalised images,
and a fused AdamW with gradients clipped to 1, as transformers' ``Trainer`` has it.

All variants of a network take turns in one process. A row holds the median seconds of a step, samples a second, what
part of this machine's matrix rate in the same precision, measured in the same turns, the step's floating-point
operations come to, and how many times the seconds of the library's own default ("mmgen") it takes. Operations are
counted and not estimated: those of attention as two matrix products, and those of a network that two losses go back
through once for each. The default has a fused AdamW everywhere and compiles nothing; on a GPU, compiled networks, with
and without CUDA graphs, are measured beside it.

    python benchmarks/training_step.py --out benchmarks/results/training_step_cpu.json
    python benchmarks/training_step.py --device cuda --out benchmarks/results/training_step_cuda.json
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import DeviceName, Engine, Step, device_of, in_turn, matrix_product, precisions, write
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmgen.cli.config import parse_config
from mmgen.data.samples import Samples
from mmgen.data.settings import Settings, kind_of
from mmgen.models.cross_modal_mae import CrossModalMAE
from mmgen.models.modality import Modality
from mmgen.names import DecoderName
from mmgen.presets import PRESETS, PresetName, build_mae, mae_config
from mmgen.training.batches import LABEL
from mmgen.training.loop import Position
from mmgen.training.mae import MAEConfig, MAETask
from mmgen.training.run import Run

CLIP_NORM, LR, BETAS, DECAY, MASK_RATIO = 1.0, 1e-3, (0.9, 0.95), 0.05, 0.75
MATRIX = "matrix product"
Variants = dict[str, Callable[[], Step]]


@dataclass(frozen=True)
class Sizes:
    """A plain masked autoencoder and its images."""

    side: int = 224
    dim: int = 384
    depth: int = 12
    heads: int = 6
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    patch: int = 16


@dataclass(frozen=True)
class StepBenchmark:
    """Flags of this benchmark."""

    out: Path | None = None
    device: DeviceName = "auto"
    preset: PresetName = "small"
    """Of the networks of two modalities."""
    batch_size: int = 16
    """Of the plain masked autoencoder; the others have their preset's."""
    rounds: int = 7
    """Measured steps of every variant, after some that warm up."""
    quick: bool = False
    """Tiny networks and one round, to see that everything runs."""


def main() -> None:
    config = parse_config(StepBenchmark, description=__doc__)
    sizes, side = Sizes(), 2048
    if config.quick:
        config = replace(config, preset="tiny", batch_size=2, rounds=1)
        sizes, side = Sizes(32, 32, 1, 2, 32, 1, 2), 64
    device = device_of(config.device)
    side = 4 * side if device.type == "cuda" else side
    rows: list[dict[str, Any]] = []
    for precision in precisions():
        pairs = config.batch_size if config.quick else PRESETS[config.preset].batch_size
        for network, batch_size, variants in (
            ("masked autoencoder", config.batch_size, plain_variants(config.batch_size, sizes, precision, device)),
            ("two modalities", pairs, paired_variants(config.preset, "mse", pairs, precision, device)),
            ("two modalities, denoising", pairs, paired_variants(config.preset, "denoise", pairs, precision, device)),
        ):
            head = {"network": network, "batch_size": batch_size, "precision": precision}
            for row in measure(variants, matrix_product(side, precision, device), config.rounds, device):
                rows.append(head | row | ({"samples_per_s": batch_size / row["seconds"]} if "times" in row else {}))
                print(json.dumps(rows[-1]), flush=True)
            write(config.out, rows, sizes=vars(sizes), preset=config.preset, quick=config.quick)
            gc.collect()


def measure(variants: Variants, product: tuple[Step, int], rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Rows of one network in one precision; a variant that fails says why instead."""
    steps: dict[str, Step] = {MATRIX: product[0]}
    operations, failed = {MATRIX: product[1]}, dict[str, str]()
    for name, make in variants.items():
        try:
            step = make()
            # Compiled steps cannot be counted; theirs are those of what was compiled.
            operations[name] = operations["mmgen"] if ", compiled" in name else counted(step)
            for _ in range(3):  # graphs are recorded in the second or third
                step(0)
            steps[name] = step
        except (RuntimeError, ImportError, AttributeError, TypeError, AssertionError, ValueError) as error:
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    seconds = in_turn(steps, rounds, device)
    best = operations[MATRIX] / seconds[MATRIX]
    rows: list[dict[str, Any]] = [{"variant": MATRIX, "seconds": seconds.pop(MATRIX), "flop_per_s": best}]
    for name, median in seconds.items():
        rate = operations[name] / median
        row = {"variant": name, "default": name == "mmgen", "seconds": median, "flop": operations[name]}
        rows.append(row | {"flop_per_s": rate, "of_matrix_rate": rate / best, "times": median / seconds["mmgen"]})
    return rows + [{"variant": name, "failed": reason} for name, reason in failed.items()]


def counted(step: Step) -> int:
    """Floating-point operations of a step."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(0)
    return counter.get_total_flops()


# -- variants of this library


def task_step(task: MAETask, batch: Mapping[str, torch.Tensor]) -> Step:
    """An update of a task; the draws of every update are those of the first one, and so is its work."""
    on_device = {name: x.to(task.accelerator.device) for name, x in batch.items()}
    return lambda _: task.update(on_device, Position(0, 0, 0))


def with_attention(make: Callable[[], MAETask], fused: bool) -> MAETask:
    """A task with one of the two paths of attention."""
    task = make()
    for module in task.model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused
    return task


def compiled(make: Callable[[], MAETask], batch: Mapping[str, torch.Tensor], mode: str | None) -> Step:
    """An update of a task whose network is compiled."""
    # Gradients of several losses go back through one graph, whose buffers must stay.
    torch._functorch.config.donated_buffer = False
    task = make()
    task.model.compile(mode=mode)
    update = task_step(task, batch)

    def step(number: int) -> None:
        torch.compiler.cudagraph_mark_step_begin()
        update(number)

    return step


def own_variants(make: Callable[[], MAETask], batch: Mapping[str, torch.Tensor], device: torch.device) -> Variants:
    """The library's default, and what it could do instead."""
    variants: Variants = {
        "mmgen": lambda: task_step(make(), batch),
        "mmgen, fused attention": lambda: task_step(with_attention(make, True), batch),
        "mmgen, plain attention": lambda: task_step(with_attention(make, False), batch),
    }
    if device.type == "cuda":
        variants |= {
            "mmgen, compiled": lambda: compiled(make, batch, None),
            "mmgen, compiled, CUDA graphs": lambda: compiled(make, batch, "reduce-overhead"),
        }
    return variants


def plain_variants(batch_size: int, sizes: Sizes, precision: str, device: torch.device) -> Variants:
    """The plain masked autoencoder of one modality, and its peers."""
    images = torch.randint(0, 256, (batch_size, 3, sizes.side, sizes.side), dtype=torch.uint8)

    def make() -> MAETask:
        torch.manual_seed(0)
        modality = Modality("image", tuple(images.shape[1:]), (sizes.patch,) * 2, (127.5,) * 3, (64.0,) * 3)
        light = {name: getattr(sizes, name) for name in ("decoder_dim", "decoder_depth", "decoder_heads")}
        model = CrossModalMAE([modality], sizes.dim, sizes.depth, sizes.heads, **light)
        learning = MAEConfig(batch_size, LR, DECAY, BETAS, MASK_RATIO, clip_norm=CLIP_NORM)
        return MAETask(model, learning, Run(Engine(precision, device)))

    normalised = (images.to(device).float() - 127.5) / 64.0
    engine = Engine(precision, device)
    peers: Variants = {"transformers": lambda: peer_step(transformers_mae(sizes), normalised, engine)}
    if find_spec("lightly"):
        peers["lightly"] = lambda: peer_step(lightly_mae(sizes), normalised, engine)
    return own_variants(make, {"image": images}, device) | peers


def paired_variants(
    name: PresetName, decoder: DecoderName, batch_size: int, precision: str, device: torch.device
) -> Variants:
    """A preset's network of two modalities, with decoupled and with joint losses; in the updates of the denoising one
    everything is hidden, which are most."""
    preset = replace(PRESETS[name], decoder=decoder, batch_size=batch_size)
    samples = random_samples(preset.settings, batch_size)
    batch = {key: torch.from_numpy(s.values) for key, s in samples.items()}
    batch[LABEL] = torch.from_numpy(samples["image"].labels)
    same: dict[str, Any] = {"whole_mask_share": 0.0}
    same |= {"plain_share": 0.0, "alone_share": 1.0} if decoder == "denoise" else {}

    def make(coupling: str = "decoupled") -> MAETask:
        model = build_mae(preset, preset.settings, samples, "own")
        learning = mae_config(preset, preset.settings, loss_coupling=coupling, **same)
        return learning.task(model, Run(Engine(precision, device)))

    joint: Variants = {"mmgen, joint losses": lambda: task_step(make("joint"), batch)}
    return own_variants(make, batch, device) | joint


def random_samples(settings: Mapping[str, Settings], count: int) -> dict[str, Samples]:
    """Noise of the right shapes: speed does not depend on content."""
    rng, samples = np.random.default_rng(0), {}
    for name, form in settings.items():
        values = rng.integers(0, 256, (count, *form.shape), dtype=np.uint8)
        if not kind_of(form).is_picture:
            values = (values / 32 + form.log_floor).astype(np.float32)
        samples[name] = Samples(values, np.arange(count) % 2, ("a", "b"), np.arange(count))
    return samples


# -- peers


def peer_step(network: nn.Module, images: torch.Tensor, engine: Engine) -> Step:
    """A step of another library's network, whose output is its loss."""
    network = network.to(engine.device).train()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LR, betas=BETAS, weight_decay=DECAY, fused=True)

    def step(_: int) -> None:
        with engine.autocast():
            loss = network(images)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimizer.step()

    return step


class LossAlone(nn.Module):
    """A network of transformers that gives its loss."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=images).loss


def transformers_mae(sizes: Sizes) -> nn.Module:
    """transformers' masked autoencoder."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    encoder = {"hidden_size": sizes.dim, "num_hidden_layers": sizes.depth, "num_attention_heads": sizes.heads}
    decoder = {"hidden_size": sizes.decoder_dim, "num_hidden_layers": sizes.decoder_depth}
    decoder |= {"num_attention_heads": sizes.decoder_heads, "intermediate_size": 4 * sizes.decoder_dim}
    form = encoder | {f"decoder_{name}": value for name, value in decoder.items()}
    form |= {"intermediate_size": 4 * sizes.dim, "image_size": sizes.side, "patch_size": sizes.patch}
    return LossAlone(ViTMAEForPreTraining(ViTMAEConfig(**form, mask_ratio=MASK_RATIO)))


def lightly_mae(sizes: Sizes) -> nn.Module:
    """lightly's masked autoencoder, as its example for PyTorch puts it together."""
    from lightly.models import utils
    from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
    from timm.models.vision_transformer import VisionTransformer

    class LightlyMAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            form = {"embed_dim": sizes.dim, "depth": sizes.depth, "num_heads": sizes.heads, "num_classes": 0}
            vit = VisionTransformer(img_size=sizes.side, patch_size=sizes.patch, **form)
            light = {"decoder_embed_dim": sizes.decoder_dim, "decoder_depth": sizes.decoder_depth}
            light |= {"decoder_num_heads": sizes.decoder_heads, "embed_dim": sizes.dim, "patch_size": sizes.patch}
            self.backbone = MaskedVisionTransformerTIMM(vit=vit)
            self.decoder = MAEDecoderTIMM(num_patches=vit.patch_embed.num_patches, **light)
            self.tokens = self.backbone.sequence_length

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            size = (len(images), self.tokens)
            keep, hidden = utils.random_token_mask(size=size, mask_ratio=MASK_RATIO, device=images.device)
            encoded = self.decoder.embed(self.backbone.encode(images=images, idx_keep=keep))
            x = utils.repeat_token(self.decoder.mask_token, size)
            x = self.decoder.decode(utils.set_at_index(x, keep, encoded.type_as(x)))
            predicted = self.decoder.predict(utils.get_at_index(x, hidden))
            return nn.functional.mse_loss(
                predicted, utils.get_at_index(utils.patchify(images, sizes.patch), hidden - 1)
            )

    return LightlyMAE()


if __name__ == "__main__":
    main()
