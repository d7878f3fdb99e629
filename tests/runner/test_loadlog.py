import pytest

from edgellm.runner.loadlog import DeviceMemory, last_error, memory_by_buffer, says_out_of_memory
from edgellm.units import MIB


@pytest.mark.parametrize(
    "line",
    [
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9216.00 MiB on device 0: "
        "cudaMalloc failed: out of memory",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 536870912",
        "ggml_aligned_malloc: insufficient memory (attempted to allocate  19.73 MB)",
        "libgomp: Thread creation failed: Resource temporarily unavailable",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory",
    ],
)
def test_each_way_of_saying_that_memory_ran_out_is_understood(line):
    assert says_out_of_memory(["load_tensors: loading", line])


@pytest.mark.parametrize(
    "line",
    [
        "llama_model_load: error loading model: unknown model architecture: 'foo'",
        "gguf_init_from_file: failed to open GGUF file",
        "load_tensors: CPU_Mapped model buffer size = 357.64 MiB",
    ],
)
def test_other_words_are_not_taken_for_it(line):
    assert not says_out_of_memory([line])


def test_buffers_are_added_up_by_what_they_hold():
    lines = [
        "load_tensors:   CPU_Mapped model buffer size =   357.00 MiB",
        "llama_kv_cache:        CPU KV buffer size =   448.00 MiB",
        "llama_kv_cache:        CPU KV buffer size =   2.00 MiB",
        "llama_memory_recurrent:        CPU RS buffer size =   10.00 MiB",
        "llama_context:        CPU compute buffer size =   30.00 MiB",
        "llama_context:        CPU  output buffer size =     0.50 MiB",
    ]

    assert memory_by_buffer(lines) == (
        DeviceMemory("CPU_Mapped", 357 * MIB, 0, 0),
        DeviceMemory("CPU", 0, 460 * MIB, 30 * MIB + MIB // 2),
    )


def test_the_output_buffer_is_told_as_large_as_it_gets():
    lines = [
        "llama_context:        CPU compute buffer size =   30.00 MiB",
        "llama_context:        CPU  output buffer size =     0.50 MiB",
    ]

    assert memory_by_buffer(lines, 3.0) == (DeviceMemory("CPU", 0, 0, 31 * MIB + MIB // 2),)


def test_the_first_line_that_names_a_cause_is_the_cause():
    lines = ["loading", "error: tensor 'x' has wrong shape", "error: failed to load model"]

    assert last_error(lines) == "error: tensor 'x' has wrong shape"
    assert last_error(["loading"]) == ""
