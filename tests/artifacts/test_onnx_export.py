from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from calling import call, error
from tiny_medsynth import small_generator

from mmgen.artifacts.onnx_export import export_onnx
from mmgen.errors import UserError


def test_onnxruntime_computes_the_features(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the packages of the extra onnx are not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the packages of the extra onnx are not installed")
    model = tiny.make_model().eval()
    assert export_onnx(model, tmp_path / "audio.onnx", "audio") == "audio"  # padded, unlike the images
    session = onnxruntime.InferenceSession(tmp_path / "audio.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = tiny.make_inputs(["audio"], batch)
        (found,) = session.run(["features"], {"samples": x["audio"].numpy()})
        with torch.no_grad():
            expected = model.encode(x)["audio"].numpy()
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_command_says_what_the_file_takes(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript", reason="the packages of the extra onnx are not installed")
    capsys.readouterr()
    assert call(monkeypatch, "export", model_folder, "--onnx", tmp_path / "a b" / "image.onnx", "--json") == 0
    done = json.loads(capsys.readouterr().out)
    assert done["modality"] == "image" and done["input"] == ["batch", 1, 32, 32]
    assert Path(done["onnx"]).stat().st_size > 1000


def test_what_cannot_be_exported_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="of the kind medsynth has no encoder"):
        export_onnx(small_generator(), tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"encoders of \['image', 'audio'\], not of 'skin'"):
        export_onnx(tiny.make_model(), tmp_path / "x.onnx", "skin")
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # as if it were not installed
    assert call(monkeypatch, "export", model_folder, "--onnx", tmp_path / "x.onnx") == 2
    assert "pip install 'mmgen[onnx]'" in error(capsys)
    assert not list(tmp_path.iterdir())
