from __future__ import annotations

import io
import logging
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from mmgen.data.decoded import Remark, UnusableFile
from mmgen.data.images import decode_image

pytest.importorskip("pydicom")

from dicom_files import (
    COLOUR,
    GREY,
    NAME,
    NUMBER,
    RAMP,
    RAMP_8_BIT,
    RGB,
    compressed,
    dataset,
    decode,
    dicom,
    difference,
    encoded,
    refusal,
    written,
)
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

RAMP_12_BIT = np.rint(RAMP * 4095).astype(np.uint16)


def lookup_table(entries: list[int] | np.ndarray, first: int, bits: int) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item.LUTData = [int(entry) for entry in entries]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return Sequence([item])


class TestGreyScale:
    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize(("stored", "dtype"), [(8, "u1"), (10, "u2"), (12, "u2"), (16, "u2")])
    def test_without_a_window_the_stored_bits_are_the_scale(self, stored, dtype, signed):
        values = np.rint(RAMP * (2**stored - 1)).astype(int) - (2 ** (stored - 1) if signed else 0)
        values = values.astype(dtype.replace("u", "i") if signed else dtype)
        assert difference(decode(dicom(values, stored=stored)), RAMP_8_BIT) <= 1
        darker = dicom(values // 4, stored=stored)
        if not signed:
            assert difference(decode(darker), RAMP_8_BIT // 4) <= 1, "the picture's own extremes do not count"

    def test_monochrome1_is_inverted(self):
        assert difference(decode(dicom(RAMP_12_BIT, "MONOCHROME1", 12)), 255 - RAMP_8_BIT) <= 1
        window = {"WindowCenter": 1000, "WindowWidth": 500}
        plain, inverted = (decode(dicom(RAMP_12_BIT, f"MONOCHROME{n}", 12, **window)) for n in (2, 1))
        assert difference(inverted, 255 - plain) <= 1
        assert inverted[0, 0] == 255 and inverted[0, -1] == 0

    def test_known_answer_of_a_window(self):
        # Hounsfield units -1024..3071 stored from 0, soft tissue window: -160 is black, 240 white, 40 in between.
        values = np.zeros((32, 32), np.uint16)
        values[0, :5] = np.array([-500, -160, 40, 239, 900]) + 1024
        tags = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}
        assert decode(dicom(values, "MONOCHROME2", 12, **tags))[0, :5].tolist() == [0, 0, 128, 255, 255]

    def test_the_first_of_several_windows(self):
        several = dicom(RAMP_12_BIT, "MONOCHROME2", 12, WindowCenter=[1000, 3000], WindowWidth=[500, 10])
        first = dicom(RAMP_12_BIT, "MONOCHROME2", 12, WindowCenter=1000, WindowWidth=500)
        assert (decode(several) == decode(first)).all()

    def test_the_narrowest_window_is_a_threshold(self):
        levels = decode(dicom(RAMP_12_BIT, "MONOCHROME2", 12, WindowCenter=2048, WindowWidth=1))
        assert (levels == np.where(RAMP_12_BIT >= 2048, 255, 0)).all()

    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
    def test_windows_agree_with_pydicom(self, function, signed):
        values = (RAMP_12_BIT.astype(int) - 2048 * signed).astype(np.int16 if signed else np.uint16)
        tags = {"RescaleSlope": 2.5, "RescaleIntercept": -700, "VOILUTFunction": function}
        data = dataset(values, "MONOCHROME2", 12, WindowCenter=1500.5, WindowWidth=2222, **tags)
        low, high = (2.5 * value - 700 for value in ((-2048, 2047) if signed else (0, 4095)))
        shown = (apply_voi_lut(apply_modality_lut(values, data), data) - low) / (high - low)
        assert difference(decode(written(data)), np.rint(255 * shown)) <= 1

    def test_rescaling_alone_does_not_change_the_scale_but_may_turn_it(self):
        assert (decode(dicom(RAMP_12_BIT, "MONOCHROME2", 12, RescaleSlope=3, RescaleIntercept=-9)) == RAMP_8_BIT).all()
        turned = decode(dicom(RAMP_12_BIT, "MONOCHROME2", 12, RescaleSlope=-1, RescaleIntercept=0))
        assert (turned == 255 - RAMP_8_BIT).all()

    def test_display_table(self):
        entries = np.rint(255 * (np.arange(4096) / 4095) ** 2).astype(int)
        whole = dicom(RAMP_12_BIT, "MONOCHROME2", 12, VOILUTSequence=lookup_table(entries, 0, 8))
        assert (decode(whole) == entries[RAMP_12_BIT]).all()
        # Below and beyond a table, its ends; a table goes before a window.
        short = dicom(
            *(RAMP_12_BIT, "MONOCHROME2", 12),
            **{"VOILUTSequence": lookup_table([0, 1023], 2048, 10), "WindowCenter": 9, "WindowWidth": 9},
        )
        assert (decode(short) == np.where(RAMP_12_BIT > 2048, 255, 0)).all()

    def test_table_that_begins_below_zero(self):
        values = (RAMP_12_BIT.astype(int) - 2048).astype(np.int16)
        table = lookup_table(np.arange(4096)[::-1] * 16, 65536 - 2048, 16)
        assert difference(decode(dicom(values, "MONOCHROME2", 12, VOILUTSequence=table)), 255 - RAMP_8_BIT) <= 1

    def test_modality_table(self):
        table = lookup_table(np.arange(4096)[::-1] * 16, 0, 16)
        levels = decode(dicom(RAMP_12_BIT, "MONOCHROME2", 12, ModalityLUTSequence=table))
        assert difference(levels, 255 - RAMP_8_BIT) <= 1

    def test_window_in_the_functional_groups_of_a_multi_frame_file(self):
        frame, values, shared = Dataset(), Dataset(), Dataset()
        values.WindowCenter, values.WindowWidth = 1000, 500
        frame.FrameVOILUTSequence = Sequence([values])
        rescale = Dataset()
        rescale.RescaleSlope, rescale.RescaleIntercept = 2, 10
        shared.PixelValueTransformationSequence = Sequence([rescale])
        groups = {
            "PerFrameFunctionalGroupsSequence": Sequence([frame, Dataset()]),
            "SharedFunctionalGroupsSequence": Sequence([shared]),
        }
        at_top = {"WindowCenter": 1000, "WindowWidth": 500, "RescaleSlope": 2, "RescaleIntercept": 10}
        grouped = dicom(RAMP_12_BIT, "MONOCHROME2", 12, **groups)
        assert (decode(grouped) == decode(dicom(RAMP_12_BIT, "MONOCHROME2", 12, **at_top))).all()

    def test_bits_that_are_not_stored_do_not_count(self):
        assert (decode(dicom(RAMP_12_BIT | 0xF000, "MONOCHROME2", 12)) == RAMP_8_BIT).all()

    def test_one_bit(self):
        mask = RAMP > 0.5
        data = dataset(mask.astype(np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
        data.PixelData = np.packbits(mask, bitorder="little").tobytes()
        assert (decode(written(data)) == 255 * mask).all()


class TestColour:
    def test_rgb_in_both_orders(self):
        assert (decode(dicom(RGB, "RGB"), COLOUR) == RGB).all()
        planes = dataset(RGB, "RGB", PlanarConfiguration=1)
        planes.PixelData = RGB.transpose(2, 0, 1).tobytes()
        assert (decode(written(planes), COLOUR) == RGB).all()

    def test_deep_rgb(self):
        assert (decode(dicom(RGB.astype(np.uint16) << 4, "RGB", 12), COLOUR) == RGB).all()

    def test_ybr(self):
        ybr = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
        assert difference(decode(dicom(ybr, "YBR_FULL"), COLOUR), RGB) <= 3

    def test_ybr_with_half_the_colour(self):
        ybr = np.asarray(Image.new("RGB", (32, 32), (200, 100, 50)).convert("YCbCr"))
        data = dataset(ybr, "YBR_FULL_422")
        pairs = ybr.reshape(32, 16, 2, 3)
        data.PixelData = np.stack(
            [pairs[..., 0, 0], pairs[..., 1, 0], pairs[..., 0, 1], pairs[..., 0, 2]], -1
        ).tobytes()
        assert difference(decode(written(data), COLOUR), np.array([200, 100, 50])) <= 3

    @pytest.mark.parametrize("bits", [8, 16])
    def test_palette(self, bits):
        table = {"Red": RGB[0, :, 0], "Green": RGB[:, 0, 1], "Blue": RGB[0, :, 2]}
        data = dataset(np.tile(np.arange(32, dtype=np.uint8), (32, 1)), "PALETTE COLOR")
        for name, values in table.items():
            setattr(data, f"{name}PaletteColorLookupTableDescriptor", [32, 0, bits])
            entries = values.astype(np.uint16) * 257 if bits == 16 else values
            setattr(data, f"{name}PaletteColorLookupTableData", entries.tobytes())
        wanted = np.tile(np.stack(list(table.values()), -1), (32, 1, 1))
        assert (decode(written(data), COLOUR) == wanted).all()


class TestFile:
    @pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
    @pytest.mark.parametrize("values", [RAMP_12_BIT, RAMP_8_BIT], ids=["16 bits", "8 bits"])
    def test_other_encodings(self, syntax, values):
        big = syntax == uid.ExplicitVRBigEndian
        data = dataset(values, "MONOCHROME1", 12 if values.itemsize == 2 else 8, WindowCenter=100, WindowWidth=90)
        wanted = decode(written(data))
        data.file_meta.TransferSyntaxUID = syntax
        data.PixelData = values.astype(values.dtype.newbyteorder(">" if big else "<")).tobytes()
        file = io.BytesIO()
        data.save_as(file, implicit_vr=not big, little_endian=not big, enforce_file_format=True)
        assert (decode(file.getvalue()) == wanted).all()

    def test_without_a_preamble(self):
        whole = dicom(RAMP_12_BIT, "MONOCHROME2", 12)
        assert (decode(whole[132:]) == RAMP_8_BIT).all()

    @pytest.mark.parametrize("implicit", [False, True])
    def test_without_any_header(self, implicit):
        data = dataset(RAMP_12_BIT, "MONOCHROME2", 12)
        del data.file_meta
        file = io.BytesIO()
        data.save_as(file, implicit_vr=implicit, little_endian=True)
        assert file.getvalue().startswith(b"\x08\0\x05\0")
        assert (decode(file.getvalue()) == RAMP_8_BIT).all()

    def test_sequences_of_unknown_length_are_passed_over(self):
        whole = dicom(RAMP_12_BIT, "MONOCHROME2", 12)
        place = whole.index(b"\x28\0\x02\0US")
        item, end, last = (
            b"\xfe\xff\0\xe0" + b"\xff" * 4,
            b"\xfe\xff\x0d\xe0" + bytes(4),
            b"\xfe\xff\xdd\xe0" + bytes(4),
        )
        for kind, inner in ((b"SQ", b"\x28\0\x10\0US\2\0\7\0"), (b"UN", b"\x28\0\x10\0\2\0\0\0\7\0")):
            nested = b"\x27\0\x01\x10" + kind + b"\0\0" + b"\xff" * 4 + (item + inner + end) * 2 + last
            assert (decode(whole[:place] + nested + whole[place:]) == RAMP_8_BIT).all()

    def test_values_of_absurd_length_are_not_read(self):
        tag = b"\x28\0\x50\x10"  # window centre
        whole = dicom(RAMP_12_BIT, "MONOCHROME2", 12, WindowCenter="70", WindowWidth="70")
        place = whole.index(tag)
        absurd = whole[:place] + tag + b"UT\0\0" + struct.pack("<I", 50_000_000) + b"7\\" * 25_000_000
        assert refusal(absurd + whole[place + 10 :]) == "damaged DICOM file"

    def test_first_of_many_frames_and_nothing_beyond_it_is_read(self):
        class Counted(io.BytesIO):
            count = 0

            def read(self, size=-1):
                data = super().read(size)
                self.count += len(data)
                return data

        data = dataset(RAMP_12_BIT, "MONOCHROME2", 12, NumberOfFrames=500)
        data.PixelData = RAMP_12_BIT.tobytes() + bytes(499 * RAMP_12_BIT.nbytes)
        file = Counted(written(data))
        assert (decode_image(file, GREY).values[0, 0] == RAMP_8_BIT).all()
        assert file.count < RAMP_12_BIT.nbytes + 5000

    def test_first_of_many_compressed_frames(self):
        frames = [encoded(np.full((32, 32), level, np.uint8), "JPEG2000", no_jp2=True) for level in (10, 200, 90)]
        for offsets in (True, False):
            data = dataset(np.zeros((32, 32), np.uint8), NumberOfFrames=3)
            data.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
            data.PixelData = encapsulate(frames, has_bot=offsets)
            data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
            assert (decode(written(data)) == 10).all()

    def test_remarks(self):
        def remarks(values=RAMP_12_BIT, **tags):
            return decode_image(io.BytesIO(dicom(values, "MONOCHROME2", 12, **tags)), GREY).remarks

        assert remarks() == remarks(BurnedInAnnotation="NO") == Remark.NONE
        assert remarks(BurnedInAnnotation="YES") == Remark.BURNT_IN
        assert remarks(RAMP_12_BIT * 0, BurnedInAnnotation="YES") == Remark.BURNT_IN | Remark.BLANK
        # All values lie beyond the window: nothing is seen.
        assert remarks(WindowCenter=60_000, WindowWidth=2) == Remark.BLANK

    @pytest.mark.parametrize(
        ("tags", "reason"),
        [
            ({"Rows": 60_000, "Columns": 60_000}, "it has 60000 x 60000 pixels, more than the 40 megapixels"),
            ({"Rows": 64}, "its pixel data are cut off"),
            ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "its pixels have more than 16 bits"),
            ({"PhotometricInterpretation": "CMYK"}, "its DICOM colour model is not supported"),
            ({"PhotometricInterpretation": "RGB"}, "its DICOM colour model is not supported"),
            ({"WindowCenter": 10, "WindowWidth": 0}, "its display window has no width"),
            ({"RescaleSlope": 0, "RescaleIntercept": 0}, "its DICOM rescaling leaves one value"),
            ({"BitsStored": 0}, "damaged DICOM file"),
            ({"Rows": 0}, "damaged DICOM file"),
        ],
    )
    def test_reasons(self, tags, reason):
        assert refusal(dicom(RAMP_12_BIT, "MONOCHROME2", 12, **tags)).startswith(reason)

    def test_files_without_a_picture(self):
        report = dataset(RAMP_12_BIT)
        del report.PixelData
        assert refusal(written(report)) == "the DICOM file holds no picture"
        assert refusal(dicom(RAMP_12_BIT)[:300]) == "the DICOM file holds no picture"

    def test_deflated_and_unknown(self):
        data = dataset(RAMP_12_BIT)
        data.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        assert refusal(written(data)) == "it is a deflated DICOM file: save it uncompressed"
        whole = dicom(RAMP_12_BIT).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0")
        assert refusal(whole) == "its DICOM transfer syntax is unknown: save it uncompressed"

    def test_a_small_file_cannot_ask_for_much(self):
        # Runs for 128 times more than the picture; a JPEG of another size than DICOM says.
        frame = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x07" * 100_000
        assert (decode(compressed(frame, uid.RLELossless, np.zeros((32, 32), np.uint8))) == 7).all()
        jpeg = bytearray(encoded(RAMP_8_BIT, "JPEG"))
        start = jpeg.index(b"\xff\xc0") + 5
        jpeg[start : start + 4] = b"\xff" * 4
        for syntax in (uid.JPEGBaseline8Bit, uid.JPEGLosslessSV1):
            content = compressed(bytes(jpeg), syntax, RAMP_8_BIT)
            if syntax == uid.JPEGBaseline8Bit:
                assert refusal(content).startswith("it has 65535 x 65535 pixels")
        tiny = bytearray(encoded(RAMP_8_BIT, "JPEG2000", no_jp2=True))
        tiny[8:16] = struct.pack(">II", 100_000, 100_000)
        assert refusal(compressed(bytes(tiny), uid.JPEG2000, RAMP_8_BIT)).startswith("it has 100000 x 100000 pixels")


class TestPrivacy:
    """Whatever a file holds, only its pixels leave it."""

    def spoiled(self) -> list[bytes]:
        """Files with the name in the place of each value that is read, in the place of pixels, and broken ones."""
        name = NAME.encode()[:14].ljust(14, b" ")
        tags = {
            "WindowCenter": "100.0000000000",
            "WindowWidth": "200.0000000000",
            "RescaleSlope": "1.000000000000",
            "RescaleIntercept": "2.000000000000",
            "NumberOfFrames": "1             ",
            "BurnedInAnnotation": "NO            ",
        }
        files = []
        for keyword, value in tags.items():
            data = dataset(RAMP_12_BIT, "MONOCHROME2", 12, WindowCenter=100, WindowWidth=200)
            data.add_new(keyword, "CS", value)
            whole = written(data)
            assert value.encode().strip() in whole
            files.append(whole.replace(value.encode(), name))
        whole = dicom(RAMP_12_BIT, "MONOCHROME2", 12)
        files.append(whole.replace(b"MONOCHROME2 ", NAME.encode()[:12]))
        files.append(whole.replace(b"1.2.840.10008.1.2.1\0", NAME.encode()[:20].ljust(20)))
        files.append(whole.replace(b"ISO_IR 192", NAME.encode()[:10]))
        files += [whole.replace(b"\x10\0\x10\0PN", tag + b"PN") for tag in (b"\x28\0\x10\0", b"\x08\0\x05\0")]
        files += [compressed(NAME.encode() * 9, syntax, RAMP_8_BIT) for syntax in TestPrivacy.SYNTAXES]
        rng = np.random.default_rng(0)
        for _ in range(300):
            broken = np.frombuffer(whole, np.uint8).copy()
            places = rng.integers(128, 700, rng.integers(1, 8))
            broken[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
            files.append(broken.tobytes()[: rng.integers(500, len(whole) * 2)])
        return files

    SYNTAXES = (uid.JPEGBaseline8Bit, uid.JPEG2000, uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless)

    def test_no_value_is_told(self, caplog, capfd):
        logging.getLogger("pydicom").setLevel(logging.DEBUG)
        caplog.set_level(logging.DEBUG)
        told, refused = [], 0
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for content in self.spoiled():
                try:
                    told.append(repr(decode_image(io.BytesIO(content), GREY).remarks))
                except UnusableFile as error:
                    refused += 1
                    chain = error
                    while chain is not None:
                        told.append(f"{chain!r} {chain} {getattr(chain, '__notes__', '')}")
                        chain = chain.__cause__ or chain.__context__
        told += [str(warning.message) for warning in heard] + list(capfd.readouterr())
        told += [record.getMessage() for record in caplog.records]
        assert refused > 50
        text = "\n".join(told)
        for planted in (NAME, *NAME.split("^"), "stermann", NUMBER, "4711", "19560812"):
            assert planted not in text, text[max(0, text.index(planted) - 300) :][:600]
