"""NVML as a capture's `nvml.json` tells it: the answers of its calls by device. What was not
written down is "not supported"."""

import json
from pathlib import Path
from types import SimpleNamespace

import pynvml


class ReplayedNvml:
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_CLOCK_SM, NVML_CLOCK_MEM = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
    NVMLError = pynvml.NVMLError
    NVMLError_NotSupported = pynvml.NVMLError_NotSupported
    NVMLError_FunctionNotFound = pynvml.NVMLError_FunctionNotFound
    NVMLError_NoPermission = pynvml.NVMLError_NoPermission

    def __init__(self, file: Path) -> None:
        self._cards = json.loads(file.read_text())

    def nvmlInit(self):  # noqa: N802 - NVML's own names
        pass

    def nvmlShutdown(self):  # noqa: N802
        pass

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self._cards)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return list(self._cards)[index]

    def nvmlDeviceGetPciInfo(self, handle):  # noqa: N802
        return SimpleNamespace(busId=handle)

    def __getattr__(self, name):
        if name.startswith("NVML"):
            raise AttributeError(name)

        def call(handle, *_):
            answer = self._cards[handle].get(name)
            if answer is None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            return SimpleNamespace(**answer) if isinstance(answer, dict) else answer

        return call
