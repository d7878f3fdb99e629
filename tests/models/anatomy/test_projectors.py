"""Figures are what mtmd reserved on a CPU, for encoders of these widths with two blocks."""

import pytest
from gguf_files import Tensor, gguf_bytes, llama_bytes
from projector_files import audio_projector_bytes, both_projector_bytes
from projector_files import projector_bytes as projector_file

from edgellm.errors import BadGGUF
from edgellm.models.anatomy.projectors import check_projector, modalities_of, projector_bytes
from edgellm.models.gguf.header import GGUFHeader, parse_header
from edgellm.units import MIB


def header(data: bytes) -> GGUFHeader:
    parsed = parse_header(data, len(data))
    assert isinstance(parsed, GGUFHeader)
    return parsed


def projector(**keys: object) -> GGUFHeader:
    """With 1 MiB of weights."""
    named = {f"clip.{key}": value for key, value in keys.items()}
    weights = [Tensor("mm.0.weight", (512, 512))]
    return header(gguf_bytes({"general.architecture": "clip"} | named, weights))


def vision(side: int, patch: int, width: int, n_ff: int, kind: str = "mlp") -> GGUFHeader:
    return projector(
        projector_type=kind,
        **{
            "vision.image_size": side,
            "vision.patch_size": patch,
            "vision.embedding_length": width,
            "vision.feed_forward_length": n_ff,
        },
    )


@pytest.mark.parametrize(
    ("side", "width", "n_ff", "compute_mib"),
    [(336, 1024, 4096, 19.32), (384, 1152, 4304, 26.51), (896, 1152, 4304, 148.50)],
)
def test_pictures_of_one_size_cost_what_mtmd_reserves(
    side: int, width: int, n_ff: int, compute_mib: float
):
    found = projector_bytes(vision(side, 14, width, n_ff)) / MIB - 1
    assert found == pytest.approx(compute_mib, rel=0.002)


def test_pictures_of_any_size_are_counted_at_their_largest():
    fixed = projector_bytes(vision(560, 14, 1280, 5120))
    free = projector_bytes(vision(560, 14, 1280, 5120, kind="qwen2.5vl_merger"))
    assert free - MIB == pytest.approx((fixed - MIB) * 16384 / 1600, rel=0.01)


@pytest.mark.parametrize(
    ("width", "n_ff", "compute_mib"),
    [(384, 1536, 15.38), (1024, 4096, 41.02), (1280, 5120, 51.27)],
)
def test_an_encoder_of_sound_is_counted_for_thirty_seconds(
    width: int, n_ff: int, compute_mib: float
):
    """With some room: mtmd's other encoders of sound are not Whisper's."""
    heard = projector(**{"audio.embedding_length": width, "audio.feed_forward_length": n_ff})
    assert compute_mib < projector_bytes(heard) / MIB - 1 < 1.5 * compute_mib


def test_one_for_pictures_and_sound_has_a_graph_for_each():
    sight = {"image_size": 336, "patch_size": 14, "embedding_length": 1024}
    heard = {"audio.embedding_length": 1280, "audio.feed_forward_length": 5120}
    seen = {f"vision.{key}": value for key, value in sight.items()}
    apart = [projector_bytes(projector(**one)) - MIB for one in (seen, heard)]
    assert projector_bytes(projector(**seen, **heard)) - MIB == sum(apart)


def test_an_encoder_that_says_nothing_is_its_weights():
    assert projector_bytes(projector()) == MIB


def test_a_model_is_no_projector():
    with pytest.raises(BadGGUF, match="no projector"):
        projector_bytes(header(llama_bytes()))


def model(width: int = 256, **keys: object) -> GGUFHeader:
    return header(llama_bytes(**{"llama.embedding_length": width, **keys}))


@pytest.mark.parametrize("kind", ["mlp", "gemma3"])
def test_a_projector_suits_models_of_its_width(kind):
    check_projector(header(projector_file(kind, 256)), model(256))
    with pytest.raises(BadGGUF, match="vectors have 256 numbers, this model's 512"):
        check_projector(header(projector_file(kind, 256)), model(512))


def test_a_file_that_is_no_projector_is_refused():
    with pytest.raises(BadGGUF, match="no projector"):
        check_projector(model(), model())
    with pytest.raises(BadGGUF, match="neither pictures nor sound"):
        check_projector(projector(projector_type="mlp"), model())


def test_one_that_speaks_is_refused():
    voice = {"general.architecture": "clip", "clip.projector_type": "qwen3tts_spkenc"}
    with pytest.raises(BadGGUF, match="neither pictures nor sound"):
        check_projector(header(gguf_bytes(voice, [Tensor("a.blk.0.ln1.weight", (8,))])), model())


def test_what_it_takes_its_tensors_say():
    assert modalities_of(header(projector_file("mlp", 256))) == ("vision",)
    assert modalities_of(header(audio_projector_bytes())) == ("audio",)
    assert modalities_of(header(both_projector_bytes())) == ("vision", "audio")
    assert modalities_of(model()) == ()


def test_one_for_sound_suits_models_of_its_width():
    check_projector(header(audio_projector_bytes(256)), model(256))
    with pytest.raises(BadGGUF, match="vectors have 256 numbers, this model's 512"):
        check_projector(header(audio_projector_bytes(256)), model(512))


def test_a_projector_of_an_unknown_kind_is_left_to_llama_cpp():
    encoder = [Tensor("v.blk.0.ln1.weight", (8,))]
    for key in ("clip.projector_type", "clip.vision.projector_type"):
        keys = {"general.architecture": "clip", key: "a newer one"}
        check_projector(header(gguf_bytes(keys, encoder)), model())


def test_a_projector_of_no_kind_is_refused_as_llama_cpp_does():
    """Ollama's LLaVA has one: its own engine takes it for an "mlp"."""
    encoder = [Tensor("v.blk.0.ln1.weight", (8,))]
    with pytest.raises(BadGGUF, match="of which kind"):
        check_projector(header(gguf_bytes({"general.architecture": "clip"}, encoder)), model())


def test_a_projector_that_numbers_a_prompts_pictures_is_refused():
    counts = projector(projector_type="hunyuanvl")
    with pytest.raises(BadGGUF, match="number the pictures"):
        check_projector(counts, model())
