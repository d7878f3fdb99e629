import pytest
from mask_fakes import PLAIN

from edgellm.runner.sampling.masks import Masks


@pytest.fixture(scope="module")
def masks():
    return Masks(PLAIN.tokenizer, PLAIN.n_vocab)
