from dataclasses import replace

import pytest
import selector_specs as specs
from selector_machines import machine, unified

from edgellm.profiles import load_profiles
from edgellm.selector.choose import choose
from edgellm.selector.memory.process import process_bytes
from edgellm.selector.plan import Goal
from edgellm.units import MIB


def test_a_worker_takes_memory_for_itself_and_for_the_vocabulary():
    small, large = specs.llama2_13b(), specs.gemma3_27b()  # 32 000 and 262 144 tokens
    assert 56 * MIB < process_bytes(small) < process_bytes(large) < 200 * MIB


def test_merges_are_a_part_of_a_vocabulary():
    spec = specs.dense()
    spm, bpe = (process_bytes(replace(spec, n_merges=n)) for n in (0, 280_147))
    assert bpe - spm == pytest.approx(34 * MIB, rel=0.2)  # of Llama 3's, measured
    assert spm < process_bytes(spec) < bpe  # nobody knows: as many as tokens


def test_a_plan_counts_it_on_the_host_wherever_the_layers_are():
    spec = specs.dense()
    for hardware in (machine((24, 900)), machine(), unified(32)):
        plan = choose(hardware, [specs.candidate(spec)], Goal(), load_profiles())
        assert plan.shares[-1].overhead_bytes == process_bytes(spec)
