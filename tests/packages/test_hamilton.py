"""Hamilton: dataflows whose steps are Ray tasks."""

from __future__ import annotations

import sys
from pathlib import Path

import haz


def test_a_dataflow():
    sys.path.insert(0, str(Path(__file__).parent))
    import hamilton_functions
    import ray
    from hamilton import base, driver
    from hamilton.plugins import h_ray

    ray.init(num_cpus=2)
    try:
        adapter = h_ray.RayGraphAdapter(result_builder=base.DictResult())
        flow = driver.Builder().with_modules(hamilton_functions).with_adapters(adapter).build()
        assert flow.execute(["total", "squared"], inputs={"number": 5}) == {
            "total": 35,
            "squared": 25,
        }
        assert haz.get_runtime_context().get_node_id()
    finally:
        ray.shutdown()
        sys.path.pop(0)
