"""A synthetic data set as WebDataset shards: tar files of a fixed number of samples."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from mmgen.data.audio_settings import AudioSettings
from mmgen.data.images import ImageSettings
from mmgen.data.settings import Settings
from mmgen.data.threads import in_order
from mmgen.data.writing.atomic import new_file
from mmgen.data.writing.writer import DatasetWriter, SyntheticSample, encode_sample


class ShardWriter(DatasetWriter):
    """Shards ``shards/000000.tar``, ...; a piece is a shard.

    Sample 12 is ``000012.png``, ``000012.flac`` (16 bit), ``000012.spectrogram.npy`` (log-mel, float32, bands x frames)
    and ``000012.json`` (its metadata); further modalities have their name after the first dot, as
    ``000012.breath.flac``. A tar file says nothing of the machine, its users or the time, so it is a function of its
    samples.
    """

    format = "webdataset"

    def name(self, piece: range) -> str:
        """Relative path of a shard."""
        return f"shards/{piece.start // self.piece:06d}.tar"

    def present(self, piece: range) -> int:
        """See :class:`DatasetWriter`."""
        try:
            return len(piece) if (self.folder / self.name(piece)).stat().st_size > 0 else 0
        except OSError:
            return 0

    def write(self, samples: Iterable[SyntheticSample]) -> None:
        """See :class:`DatasetWriter`."""
        encoded = in_order(self._members, samples)
        for start, members in groupby(encoded, key=lambda item: item[0] // self.piece * self.piece):
            path = self.folder / self.name(range(start, start + self.piece))
            with (
                new_file(path, sync=True) as file,
                tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar,
            ):
                for _, contents in members:
                    for name, content in contents.items():
                        about = tarfile.TarInfo(name)  # its defaults: mode 0644, time, user and group 0, no names
                        about.size = len(content)
                        tar.addfile(about, io.BytesIO(content))

    def _members(self, sample: SyntheticSample) -> tuple[int, dict[str, bytes]]:
        key, suffixes = f"{sample.index:0{max(6, len(str(len(self) - 1)))}d}", member_suffixes(self.settings)
        members = {
            f"{key}.{suffixes[column]}": content for column, content in encode_sample(sample, self.settings).items()
        }
        about = json.dumps(self.describe(sample.index), ensure_ascii=False)
        return sample.index, {**members, f"{key}.json": about.encode()}

    def names(self) -> Iterator[str]:
        """See :class:`DatasetWriter`."""
        yield from map(self.name, self.pieces())

    def tables(self) -> list[str]:
        """See :class:`DatasetWriter`; each sample has its own."""
        return []

    def usage(self) -> tuple[str, str]:
        """See :class:`DatasetWriter`."""
        sounds = any(isinstance(settings, AudioSettings) for settings in self.settings.values())
        needs = "  # sound needs datasets[audio]" if sounds else ""
        load = 'load_dataset("webdataset", data_files="this folder/shards/*.tar")'
        return (
            f"`shards/` holds up to {self.piece} samples a file, sorted by label: shuffle them. A sample's label is in "
            "its `json`.",
            f"from datasets import load_dataset{needs}\n\n{load}",
        )


def member_suffixes(settings: Mapping[str, Settings]) -> dict[str, str]:
    """What follows a sample's key in the names of its files, by column of :func:`encode_sample`."""
    suffixes = {}
    for name, how in settings.items():
        if isinstance(how, ImageSettings):
            suffixes[f"{name}_file_name"] = "png" if name == "image" else f"{name}.png"
        else:
            prefix = "" if name == "audio" else f"{name}."
            suffixes |= {f"{name}_file_name": f"{prefix}flac", f"{name}_spectrogram": f"{prefix}spectrogram.npy"}
    return suffixes
