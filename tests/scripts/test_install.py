from scripts.setup.install import AGAIN, shortfall


def test_a_gpu_box_is_told_when_its_build_is_for_the_cpu_only():
    refused = [
        "for CUDA: no nvcc, the compiler for CUDA; get it: sudo apt install x",
        "for the CPU: no index",
    ]
    told = shortfall("cpu", "NVIDIA GeForce RTX 3090", refused, ())
    assert told
    assert "NVIDIA GeForce RTX 3090 is NOT used: this llama.cpp is built for the CPU only" in told
    assert "get it: sudo apt install x" in told
    assert "no index" not in told
    assert f"then: {AGAIN}" in told


def test_a_card_that_is_left_out_beside_others_is_named():
    told = shortfall("cuda", "two cards", [], ("GTX 1070 is not used: too old; get one: …",))
    assert told
    assert "GTX 1070 is not used" in told


def test_nothing_is_said_where_nothing_is_amiss():
    assert shortfall("cpu", None, ["for the CPU: EDGELLM_WHEEL_INDEX=none"], ()) is None
    assert shortfall("cuda", "a card", [], ()) is None
