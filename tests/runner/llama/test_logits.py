"""Rows of the real llama.cpp, step after step."""

import os

import llama_cpp
import numpy as np
import pytest
from real_model import demo_path, plan

from edgellm.runner.batch import Row
from edgellm.runner.llama.compute import Compute
from edgellm.runner.llama.load import load
from edgellm.runner.llama.logits import LogitRows

pytestmark = pytest.mark.model


@pytest.fixture
def context():
    loaded = load(os.fsencode(demo_path()), plan(), lambda ratio: None)
    yield loaded.context
    del loaded  # which frees it


@pytest.fixture
def logits(context):
    vocab = llama_cpp.llama_model_get_vocab(llama_cpp.llama_get_model(context))
    return LogitRows(context, llama_cpp.llama_vocab_n_tokens(vocab))


def test_a_row_shows_what_the_last_step_computed(context, logits):
    compute = Compute(context, plan())
    compute.rows((Row(0, 0, 5, wants_logits=True),))
    row = logits.of(0)
    first = row.copy()
    compute.rows((Row(0, 1, 6, wants_logits=True),))
    assert logits.of(0) is row
    assert not np.array_equal(row, first)


def test_rows_of_one_step_are_told_apart_by_their_place_in_the_batch(context, logits):
    Compute(context, plan()).rows(
        (Row(0, 0, 5, wants_logits=True), Row(0, 1, 6, False), Row(1, 0, 6, wants_logits=True))
    )
    told = [float(logits.of(row).max()) for row in (0, 2)]
    read = llama_cpp.llama_get_logits_ith
    n = logits.of(0).size
    assert told == [max(read(context, row)[:n]) for row in (0, 2)]
    assert told[0] != told[1]
