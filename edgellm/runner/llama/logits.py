"""Rows of logits as numpy sees them, where llama.cpp keeps them."""

import ctypes
from typing import Any

import llama_cpp
import numpy as np

from edgellm.runner.sampling.preselect import Logits

# llama_get_logits_ith, but returning a number: to take the address out of a pointer object takes as
# long again.
_ADDRESS_OF = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(
    ctypes.cast(llama_cpp.llama_get_logits_ith, ctypes.c_void_p).value or 0
)


class LogitRows:
    """llama.cpp writes its rows to the same places in every step, and making numpy's view of one
    takes longer than drawing from it. So one view is made for each place, and kept."""

    def __init__(self, context: Any, n_vocab: int) -> None:
        self._context, self._n_vocab = context, n_vocab
        self._views: dict[int, Logits] = {}  # by address

    def of(self, row: int) -> Logits:
        """The logits of the last call's `row`, which asked for them. Valid until the next call."""
        address = _ADDRESS_OF(self._context, row)
        view = self._views.get(address)
        if view is None:
            view = self._views[address] = self._view(address)
        return view

    def _view(self, address: int) -> Logits:
        return np.ctypeslib.as_array((ctypes.c_float * self._n_vocab).from_address(address))
