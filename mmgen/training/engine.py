"""The machine a training runs on: Accelerate, precision and attention path, chosen by device."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmgen.errors import UserError
from mmgen.names import Precision

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(mixed_precision: Precision = "auto") -> Accelerator:
    """An ``Accelerator`` for whatever this process was launched as.

    ``"auto"`` is what an earlier ``Accelerator`` of this process chose, since Accelerate cannot change it; without one
    what the launcher says; without a launcher bf16 where the hardware multiplies it.

    Raises:
        UserError: a launcher started several processes but Accelerate sees one (they would overwrite each other).
    """
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState, is_initialized

    # Without a GPU, Accelerator() ignores the launcher's processes unless it is told to use the CPU.
    on_cpu = not torch.accelerator.is_available()
    if mixed_precision == "auto" and is_initialized():
        mixed_precision = AcceleratorState().mixed_precision
    elif mixed_precision == "auto":
        mixed_precision = os.environ.get("ACCELERATE_MIXED_PRECISION") or ("bf16" if has_fast_bf16() else "no")
    if mixed_precision not in ("no", "bf16"):
        raise UserError(f"Mixed precision is no or bf16, not {mixed_precision!r}; check the launcher's configuration.")
    # One process may write or hash for long while the others wait.
    timeout = InitProcessGroupKwargs(timeout=timedelta(hours=6))
    try:
        accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed_precision, kwargs_handlers=[timeout])
    except ValueError as error:
        raise UserError(f"Mixed precision {mixed_precision} is not possible here ({error}); use no.") from error
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != accelerator.num_processes:
        raise UserError(
            f"The launcher started {launched} processes but Accelerate sees {accelerator.num_processes}; "
            "check its --config_file."
        )
    return accelerator


def best_device() -> torch.device:
    """The accelerator, or the CPU where there is none."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")


def has_fast_bf16() -> bool:
    """Whether this machine multiplies bf16 matrices in hardware."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not public yet, so absence means no
    return any(getattr(torch.cpu, check)() for check in checks if hasattr(torch.cpu, check))


def choose_attention(model: nn.Module, device: torch.device, precision: str = "bf16") -> None:
    """Switch every attention layer to the path that is faster on this device in this precision, "bf16" or "no"."""
    # benchmarks/training_step.py measures both: on CPUs plain is 1.1 to 1.6 times as fast in bf16, 0.9 times in fp32.
    # On CUDA it is torch's choice, not measured yet.
    fused = device.type != "cpu" or precision == "no"
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = fused


def end_process_group() -> None:
    """Wait for all processes and end their group; from then on the first one can go on alone."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def synchronise_parameters(model: nn.Module) -> None:
    """Give every process the first one's parameters and buffers."""
    if torch.distributed.is_initialized():
        for tensor in model.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)


def from_all(share: Tensor) -> Tensor:
    """The shares of all processes, in the order of their ranks. Collective."""
    if not torch.distributed.is_initialized():
        return share
    gathered = [torch.empty_like(share) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(gathered, share.contiguous())
    return torch.cat(gathered)


def mean_over_processes(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scalars averaged over all processes. Collective: every process must give the same names."""
    if not values or not torch.distributed.is_initialized():
        return dict(values)
    stacked = torch.stack(list(values.values()))
    torch.distributed.all_reduce(stacked)
    return dict(zip(values, stacked / torch.distributed.get_world_size(), strict=True))


def peak_memory_mb(device: torch.device) -> float:
    """Largest memory used so far: allocated on the accelerator, resident on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
