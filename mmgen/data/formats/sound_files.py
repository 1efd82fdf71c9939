"""Sound files as mono waveforms: soundfile reads what libsndfile knows, PyAV webm and m4a.

The content decides the format, never the name, and nothing is believed that a header says before it is checked.
"""

from __future__ import annotations

import io
import math
import os
import struct
import time
from contextlib import closing
from typing import BinaryIO, NamedTuple

import numpy as np

from mmgen.data.decoded import UnusableFile

_RATES = range(1_000, 768_001)  # Hz
_MOST_CHANNELS = 32
_BLOCK = 65_536  # frames read at once, so that memory follows what is there, not what a header says
_SLACK = 0.1  # seconds that a file may fall short of its header: codecs pad
# Beyond this the power of a spectrum is no float32; files of integers stored as floats are far below.
_LARGEST = 1e12

# Formats for PyAV: ffmpeg's name of the one demuxer that may open the file. Free to choose, ffmpeg would also follow
# playlists to other files and addresses.
_AV_FORMATS = {b"\x1a\x45\xdf\xa3": ("webm", "matroska"), b"ftyp": ("m4a", "mov")}

# Formats that are chunks of (name, size): byte order of the size, and the name of the chunk that holds the samples.
_CHUNKED = {b"RIFF": ("<", b"data"), b"RIFX": (">", b"data"), b"RF64": ("<", b"data"), b"FORM": (">", b"SSND")}
_MOST_CHUNKS = 1_000
# What programs write that cannot know the size yet: ffmpeg, sox, arecord.
_UNKNOWN_SIZES = {0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000}


class Sound(NamedTuple):
    """The sound of a file.

    Attributes:
        mono: (samples,) float32, the mean of the channels; full scale is 1.
        rate: samples a second.
        clipped: share of the samples, 0..1, that are cut off at full scale, in the channel where most are.
    """

    mono: np.ndarray
    rate: int
    clipped: float


def read_sound(file: BinaryIO, seconds: float | None = None) -> Sound:
    """Decode the first ``seconds`` of a seekable file (all of it if None); no more is read or held in memory.

    Raises:
        UnusableFile: the format is not known, the file is damaged, it holds no samples, less than its header promises
            or samples that are not numbers, or its rate or its number of channels is impossible.
    """
    file.seek(0)
    start = file.read(8)
    by_av = next((names for magic, names in _AV_FORMATS.items() if magic in (start[:4], start[4:8])), None)
    with closing(_AvReader(file, *by_av) if by_av else _SoundfileReader(file)) as reader:
        if reader.rate not in _RATES:
            raise UnusableFile(f"its sampling rate is said to be {reader.rate} Hz")
        if not 1 <= reader.channels <= _MOST_CHANNELS:
            raise UnusableFile(f"it has {reader.channels} channels, not 1 to {_MOST_CHANNELS}")
        wanted = math.inf if seconds is None else math.ceil(seconds * reader.rate)
        blocks, clipped, samples = [], np.zeros(reader.channels), 0
        while samples < wanted and len(block := reader.read(int(min(_BLOCK, wanted - samples)))):
            block = block[: int(min(len(block), wanted - samples))]
            with np.errstate(invalid="ignore"):
                if not np.abs(block).max() < _LARGEST:  # false for NaN too
                    raise UnusableFile("it holds samples that are not numbers")
            blocks.append(block.mean(axis=1) if reader.channels > 1 else block[:, 0])
            clipped += [_clipped(channel) for channel in block.T]
            samples += len(block)
        held = min(reader.held, samples / reader.rate if samples < wanted else math.inf)
        if reader.promised > held + _SLACK:
            raise UnusableFile(f"its header promises {reader.promised:.1f} s of sound, the file holds {held:.1f} s")
    if not samples:
        raise UnusableFile("it holds no samples")
    return Sound(np.concatenate(blocks), reader.rate, float(clipped.max()) / samples)


def _clipped(channel: np.ndarray) -> int:
    """Number of samples (of (samples,)) that are cut off at full scale.

    Those are in runs of at least three at 0.999 or beyond which begin or end with a jump from below 0.995. A clean wave
    that just touches full scale does so for one or two samples, or, where it is slow, comes and goes slowly.
    """
    if np.abs(channel).max() < 0.999:
        return 0
    count = 0
    for wave in (channel, -channel):
        # The first and last sample have a neighbour that is no jump.
        top = np.pad(wave >= 0.999, 1)
        level = np.pad(wave, 1, constant_values=1.0)
        edges = np.flatnonzero(top[1:] != top[:-1])
        starts, ends = edges[0::2] + 1, edges[1::2] + 1
        lengths = ends - starts
        jumps = np.minimum(level[starts - 1], level[ends]) < 0.995
        count += int(lengths[jumps & (lengths >= 3)].sum())
    return count


class _SoundfileReader:
    """Reads through soundfile.

    Attributes:
        rate, channels: of the sound.
        promised: seconds of sound that the header speaks of, 0 if it does not say.
        held: seconds that the file can hold by its size, infinite if that is not known.
    """

    def __init__(self, file: BinaryIO) -> None:
        import soundfile

        self._failure = soundfile.SoundFileError
        chunk, told = _find_samples(file), _mp3_tells_length(file)
        file.seek(0)
        self._virtual, self._descriptor = _Virtual(file), None
        if chunk and chunk.streamed:
            self._virtual.patch = chunk.size_at, struct.pack(chunk.order + "I", 0xFFFFFFFF)
        elif type(file) is io.BufferedReader and isinstance(file.raw, io.FileIO):
            # libsndfile reads a descriptor without calling Python back, so that threads do not wait for one another.
            self._descriptor = file.fileno()
            self._position = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        source = self._virtual if self._descriptor is None else self._descriptor
        try:
            self._file = soundfile.SoundFile(source, closefd=False)
        except soundfile.SoundFileError as error:
            self._restore()
            raise UnusableFile(_complaint(self._virtual.error or error)) from error
        # Otherwise soundfile seeks after every block, which takes time and fails where a FLAC's length is not known.
        self._file.seekable = lambda: False
        self.rate, self.channels = self._file.samplerate, self._file.channels
        known = self._file.frames < 2**62 and (self._file.format != "MP3" or told)
        frames = self._file.frames if known else 0
        self.promised, self.held = frames / max(self.rate, 1), math.inf
        if chunk and chunk.size > chunk.held:  # libsndfile has silently corrected the number of frames
            self.held = self.promised
            self.promised *= chunk.size / max(chunk.held, 1)

    def read(self, frames: int) -> np.ndarray:
        """The next samples, float32 (about ``frames``, channels); none at the end. Raises UnusableFile."""
        try:
            block = self._file.read(frames, dtype="float32", always_2d=True)
        except self._failure as error:
            raise UnusableFile(_complaint(error)) from error
        if self._virtual.error:
            raise UnusableFile(_complaint(self._virtual.error))
        return block

    def close(self) -> None:
        self._file.close()
        self._restore()

    def _restore(self) -> None:
        """The caller's file object must find its descriptor where it left it."""
        if self._descriptor is not None:
            os.lseek(self._descriptor, self._position, os.SEEK_SET)


def _complaint(error: Exception) -> str:
    """The complaint of soundfile or PyAV as half a sentence."""
    code = getattr(error, "code", 0)
    if code == 1:
        return "it is in no sound format that is known"
    if code == 24:  # what libsndfile says is about its own inside
        return "its header names an impossible sampling rate, length or number of channels"
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return f"it is damaged or of an unusual kind: {text.removeprefix('Error : ').strip().rstrip('.').lower()}"


class _Virtual:
    """A file object for libsndfile, which cannot be told of exceptions; Python would print and forget them.

    Attributes:
        error: why the file could not be read, if so.
        patch: a position, and the bytes that are read there instead of the file's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell = file.tell
        self.error: OSError | None = None
        self.patch = 0, b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError):  # before the beginning: libsndfile sees that the position is the old one
            return self._file.tell()

    def read(self, count: int = -1) -> bytes:
        try:
            start = self._file.tell()
            data = bytearray(self._file.read(count))
        except OSError as error:
            self.error = error
            return b""
        for place, byte in enumerate(self.patch[1], self.patch[0] - start):
            if 0 <= place < len(data):
                data[place] = byte
        return bytes(data)


class _Timed:
    """A file that can be read for half a second of computing time, and as long again after each :meth:`renew`.

    ffmpeg goes through millions of empty parts if a file has them.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.renew()

    def renew(self) -> None:
        self._end = time.thread_time() + 0.5

    def read(self, count: int = -1) -> bytes:
        if time.thread_time() > self._end:
            raise UnusableFile("it is damaged: no sound is found in reasonable time")
        return self._file.read(count)


class _AvReader:
    """Reads the first audio stream through PyAV, as :class:`_SoundfileReader` does."""

    def __init__(self, file: BinaryIO, name: str, demuxer: str) -> None:
        try:
            import av
        except ModuleNotFoundError as error:
            raise UnusableFile(f"{name} needs PyAV: pip install 'mmgen[webm]'") from error
        self._failures = (av.FFmpegError, ValueError)
        self.held = math.inf
        file.seek(0)
        self._file = _Timed(file)
        try:
            self._container = av.open(self._file, format=demuxer)
        except self._failures as error:
            raise UnusableFile(_complaint(error)) from error
        self._stream = next(iter(self._container.streams.audio), None)
        if self._stream is None or self._stream.codec_context is None:
            self._container.close()
            raise UnusableFile("it holds no sound that can be decoded")
        self.rate, self.channels = self._stream.rate, self._stream.channels
        if self._stream.duration is not None:
            self.promised = float(self._stream.duration * self._stream.time_base)
        else:
            only_sound = len(self._container.streams) == 1
            self.promised = (self._container.duration or 0) / 1e6 if only_sound else 0.0
        self._frames = self._container.decode(self._stream)
        self._to_float = av.AudioResampler(format="fltp")

    def read(self, frames: int) -> np.ndarray:
        try:
            for frame in self._frames:
                parts = [part.to_ndarray().T for part in self._to_float.resample(frame)]
                if sum(map(len, parts)):
                    self._file.renew()
                    return np.concatenate(parts)
        except self._failures as error:
            raise UnusableFile(_complaint(error)) from error
        return np.empty((0, self.channels), np.float32)

    def close(self) -> None:
        self._container.close()


class _SampleChunk(NamedTuple):
    """The part of a file that holds its samples."""

    size: int  # bytes that the header promises; ``held`` if it does not know
    held: int  # bytes from its beginning to the end of the file
    size_at: int  # where in the file the size stands
    order: str  # byte order of the size, ``<`` or ``>``
    streamed: bool  # the size was left at 0, which libsndfile would believe


def _find_samples(file: BinaryIO) -> _SampleChunk | None:
    """For WAV, RF64, AIFF and AU, whose sizes libsndfile corrects without a word; None for other formats."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    magic, whole, _ = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
    if magic == b".snd":
        file.seek(4)
        offset, size = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
        held = max(0, end - offset)
        return _SampleChunk(held if size in _UNKNOWN_SIZES else size, held, 8, ">", False)
    if magic not in _CHUNKED:
        return None
    order, wanted = _CHUNKED[magic]
    long_size, position = 0, 12
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        header = file.read(24)
        if len(header) < 8:
            return None
        name, size = struct.unpack(order + "4sI", header[:8])
        if name == b"ds64" and len(header) == 24:
            long_size = struct.unpack("<Q", header[16:])[0]
        if name == wanted:
            held = end - position - 8
            # A file may also truly hold nothing; then the size of the whole is right.
            streamed = magic == b"RIFF" and size == 0 < held and whole + 8 < end
            size = long_size if magic == b"RF64" and size == 0xFFFFFFFF else size
            known = size not in _UNKNOWN_SIZES or (size == 0 and not streamed)
            return _SampleChunk(size if known else held, held, position + 4, order, streamed)
        position += 8 + size + size % 2
    raise UnusableFile("it is damaged: it has very many parts before its samples")


def _mp3_tells_length(file: BinaryIO) -> bool:
    """Whether an MP3 file says how long it is; otherwise libsndfile guesses from the first frame's bit rate."""
    file.seek(0)
    start = file.read(10)
    tag = 0
    if start[:3] == b"ID3" and len(start) == 10:  # 7 bits of each of the last four bytes
        tag = 10 + sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=True))
    file.seek(tag)
    frame = file.read(256)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))
