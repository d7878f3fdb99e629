import pytest
from selector_specs import dense

from edgellm.selector.speed.flash import runs_on
from edgellm.selector.speed.kernels import has_cuda_kernel


@pytest.mark.parametrize("size", [64, 80, 96, 128, 256])
def test_the_usual_heads_have_a_kernel_on_cuda(size):
    assert has_cuda_kernel(size, size, 4)
    assert runs_on(dense(head_dim=size), ["cuda"])


@pytest.mark.parametrize("size", [8, 32, 48, 100, 160])
def test_odd_heads_have_none_on_cuda_and_its_kin_and_run_elsewhere(size):
    for backend in ("cuda", "rocm", "musa"):
        assert not runs_on(dense(head_dim=size), [backend])
    assert runs_on(dense(head_dim=size), ["metal", "vulkan"])
    assert runs_on(dense(head_dim=size), [])


def test_one_device_without_the_kernel_is_enough():
    assert not runs_on(dense(head_dim=48), ["vulkan", "cuda"])


def test_latent_heads_need_many_readers():
    """576 beside 512 is DeepSeek's cache, read by all 128 heads."""
    assert has_cuda_kernel(576, 512, 128)
    assert not has_cuda_kernel(576, 512, 1)
    assert not has_cuda_kernel(576, 576, 128)
