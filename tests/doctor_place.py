"""A place that `edgellm doctor` has nothing to say about."""

from dataclasses import replace
from pathlib import Path

from selector_machines import machine

from edgellm.cli.doctoring.findings import Place
from edgellm.units import GIB

HEALTHY = Place(
    hardware=replace(machine(ram=32), ggml_registries=("CPU",), ggml_features=("AVX2",)),
    models_folder=Path("/models"),
    models_free_bytes=100 * GIB,
    models_writable=True,
    swap_used_bytes=0,
    python=(3, 12, 1),
    llama_cpp_python="0.3.36",
    demo_size_bytes=3 << 20,
)
