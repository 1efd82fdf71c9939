from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmgen.data.files import LocalFiles
from mmgen.data.labels import align_labels, apply_label_map, match_labels, parse_label_map, rename_labels
from mmgen.data.manifest import Manifest
from mmgen.data.samples import Samples
from mmgen.errors import UserError


def make_manifest(labels: list[int], label_names: tuple[str, ...]) -> Manifest:
    paths = [f"{index}.png" for index in range(len(labels))]
    subjects = np.array([f"s{index}" for index in range(len(labels))], dtype=object)
    return Manifest(LocalFiles(Path("data")), paths, np.array(labels, dtype=np.int64), label_names, subjects)


def names_of(manifest: Manifest) -> list[str]:
    return [manifest.label_names[label] for label in manifest.labels]


class TestParse:
    def test_pairs(self):
        items = ["Normal=healthy", " Pnemonia = pneumonia ", "UNK=", "a=b=c"]
        assert parse_label_map(items) == {"Normal": "healthy", "Pnemonia": "pneumonia", "UNK": "", "a": "b=c"}
        assert parse_label_map([]) == {}
        assert parse_label_map(["a=b", "a=b"]) == {"a": "b"}

    @pytest.mark.parametrize("item", ["Normal", "", "=healthy", " = ", "Normal:healthy"])
    def test_other_texts_are_named(self, item):
        with pytest.raises(UserError, match=f"'{item}' is no renaming of a label; write OLD=NEW"):
            parse_label_map([item])

    def test_one_label_to_two(self):
        with pytest.raises(UserError, match="'a' is renamed to 'b' and to 'c'"):
            parse_label_map(["a=b", "a=c"])


class TestRename:
    def test_renames_in_any_case_and_sorts(self):
        manifest = rename_labels(make_manifest([1, 0, 2], ("a", "B", "c")), {"b": "zebra", "C": "ant"})
        assert manifest.label_names == ("a", "ant", "zebra")
        assert names_of(manifest) == ["zebra", "a", "ant"]
        assert manifest.labels.dtype == np.int64

    def test_merges(self):
        manifest = make_manifest([0, 1, 2, 3], ("mild", "moderate", "none", "Positive"))
        renamed = rename_labels(manifest, {"mild": "positive", "moderate": "Positive"})
        assert renamed.label_names == ("none", "positive"), "spelled as the first new name"
        assert names_of(renamed) == ["positive", "positive", "none", "positive"]

    def test_the_empty_name_leaves_samples_out_and_keeps_rows(self):
        manifest = make_manifest([0, 1, 0, 1], ("a", "b")).select([1, 2, 3])
        renamed = rename_labels(manifest, {"a": ""})
        assert renamed.label_names == ("b",)
        assert renamed.origins.tolist() == [1, 3]
        assert renamed.paths == ["1.png", "3.png"]
        assert renamed.subjects.tolist() == ["s1", "s3"]
        assert len(rename_labels(renamed, {"b": ""})) == 0

    def test_all_at_once(self):
        manifest = make_manifest([0, 1, 2], ("a", "b", "c"))
        assert names_of(rename_labels(manifest, {"a": "b", "b": "a"})) == ["b", "a", "c"]
        assert names_of(rename_labels(manifest, {"a": "b", "b": "c", "c": ""})) == ["b", "c"]

    def test_only_the_spelling(self):
        assert names_of(rename_labels(make_manifest([0, 1], ("COVID", "x")), {"covid": "Covid"})) == ["Covid", "x"]

    def test_names_without_samples_are_dropped(self):
        assert rename_labels(make_manifest([1], ("a", "b")), {}).label_names == ("b",)

    def test_composed_accents_are_one_label(self):
        assert names_of(rename_labels(make_manifest([0], ("O\u0308dem",)), {"\u00f6dem": "edema"})) == ["edema"]


class TestApply:
    def test_one_map_for_all_modalities(self):
        manifests = {
            "image": make_manifest([0, 1], ("Normal", "covid")),
            "audio": make_manifest([0, 1], ("COVID-19", "x")),
        }
        renamed = apply_label_map(manifests, parse_label_map(["normal=x", "covid-19=covid"]))
        assert match_labels(renamed)[0]["image"].label_names == ("covid", "x")
        assert apply_label_map(manifests, {}) == manifests

    def test_a_label_of_no_modality_is_named_with_those_there_are(self):
        manifests = {"image": make_manifest([0, 1], ("a", "b")), "audio": make_manifest([0], ("c",))}
        with pytest.raises(UserError, match=r"no label 'd' to rename .*image: a, b; audio: c"):
            apply_label_map(manifests, {"a": "x", "d": "y"})

    def test_nothing_left(self):
        manifests = {"image": make_manifest([0, 1], ("a", "b")), "audio": make_manifest([0], ("a",))}
        with pytest.raises(UserError, match=r"every label of 'audio' \(a\)"):
            apply_label_map(manifests, {"a": ""})

    def test_two_spellings_with_two_names(self):
        with pytest.raises(UserError, match="'A' is renamed to 'x' and to 'y'"):
            apply_label_map({"image": make_manifest([0], ("a",))}, {"a": "x", "A": "y"})


class TestSoftLabels:
    SOFT = np.array([[0.5, 0.3, 0.2], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)

    def samples(self) -> Samples:
        labels = np.array([0, 1, 0])
        return Samples(np.zeros((3, 1, 2, 2)), labels, ("a", "b", "c"), np.arange(3), probabilities=self.SOFT)

    def test_they_follow_their_samples(self):
        assert np.array_equal(self.samples().select([2, 0]).probabilities, self.SOFT[[2, 0]])
        assert np.array_equal(self.samples().select(np.array([False, True, False])).probabilities, self.SOFT[1:2])

    def test_labels_that_become_one_are_added(self):
        renamed = rename_labels(self.samples(), {"c": "a"})
        assert renamed.label_names == ("a", "b") and renamed.labels.tolist() == [0, 1, 0]
        assert np.allclose(renamed.probabilities, [[0.7, 0.3], [0.1, 0.9], [1.0, 0.0]])

    def test_what_is_left_out_goes_to_the_others(self):
        renamed = rename_labels(self.samples(), {"c": ""})
        assert renamed.label_names == ("a", "b") and len(renamed) == 3
        assert np.allclose(renamed.probabilities, [[0.625, 0.375], [0.1, 0.9], [1.0, 0.0]])

    def test_they_get_the_order_of_other_samples(self):
        like = Samples(np.zeros((2, 1, 2, 2)), np.array([1, 2]), ("c", "B", "A"), np.arange(2))
        aligned = align_labels(self.samples(), like)
        assert aligned.label_names == ("c", "B", "A") and aligned.labels.tolist() == [2, 1, 2]
        assert np.allclose(aligned.probabilities, self.SOFT[:, ::-1])
