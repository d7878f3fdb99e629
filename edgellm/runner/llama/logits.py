"""Rows of logits as numpy sees them, where llama.cpp keeps them."""

import ctypes
from typing import Any

import llama_cpp
import numpy as np

from edgellm.runner.sampling.preselect import Logits


class LogitRows:
    """llama.cpp writes its rows to the same places step after step, and to make numpy's view of one
    takes longer than to draw from it: so a view is made once for each place."""

    def __init__(self, context: Any, n_vocab: int) -> None:
        self._context, self._shape = context, (n_vocab,)
        self._views: dict[int, Logits] = {}  # by address

    def of(self, row: int) -> Logits:
        """Of the last call's `row`, which wanted some; true until the next call."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        address = ctypes.addressof(pointer.contents)
        view = self._views.get(address)
        if view is None:
            view = self._views[address] = np.ctypeslib.as_array(pointer, shape=self._shape)
        return view
