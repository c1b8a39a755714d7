"""The kinds of GPUs, by the files of NVIDIA's driver."""

from __future__ import annotations

import pytest
from haz._core import gpus


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("Tesla T4", "T4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA GeForce", ""),
        ("", ""),
    ],
)
def test_kinds(tmp_path, model, kind):
    (tmp_path / "0000:00:1e.0").mkdir()
    (tmp_path / "0000:00:1e.0" / "information").write_text(f"Model: \t\t {model}\nIRQ: 10\n")
    assert gpus._kinds(str(tmp_path)) == ([f"accelerator_type:{kind}"] if kind else [])


def test_resources_of_gpus(tmp_path):
    assert gpus.gpu_resources([], {}) == {}
    assert gpus.gpu_resources(["0", "1"], {"accelerator_type:X": 1})["GPU"] == 2
    assert gpus._kinds(str(tmp_path / "missing")) == []
