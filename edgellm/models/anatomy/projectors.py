"""What a projector (mmproj) takes: an encoder of pictures or sound with weights and a graph of its
own. All of it is on llama.cpp's first accelerator, or with the host where there is none.

Source: tools/mtmd/clip.cpp clip_ctx, build_vit, warmup.
"""

from typing import Final, Literal, TypeAlias

from edgellm.errors import BadGGUF
from edgellm.models.gguf.header import GGUFHeader

_F32_BYTES: Final = 4
_COLOURS: Final = 3
# These scale every picture to one size. The others take up to 4096 tokens of 2 × 2 patches each
# (set_limit_image_tokens), and some that few people have seen even more.
_ONE_SIZE: Final = frozenset({
    "gemma3", "idefics3", "internvl", "ldp", "ldpv2", "llama4", "mlp", "mlp_norm", "resampler",
})  # fmt: skip
_MAX_PATCHES: Final = 16_384
# One of them (load_hparams); a projector for both has the second and the third.
_KINDS: Final = (
    "clip.projector_type", "clip.vision.projector_type", "clip.audio.projector_type"
)  # fmt: skip
# The tensor that ends in the model's own space: the first of these that is there (clip.cpp
# clip_n_mmproj_embd). Other kinds have others, which llama.cpp checks as it loads them.
_LAST: Final = (
    "mm.input_projection.weight", "resampler.proj.weight", "mm.model.fc.weight", "mm.3.weight",
    "mm.2.weight", "mm.a.fc.weight", "mm.a.mlp.3.weight", "mm.a.mlp.2.weight",
)  # fmt: skip
# A picture's rows depend on how many came before it, so they can't be named by its content.
_COUNTS_PICTURES: Final = ("hunyuanvl",)
_SPEAKS: Final = ("_gen", "_spkenc")  # the ends of kinds that make speech
_EITHER_WAY: Final = _LAST[:2]  # stored transposed by some
_AUDIO_POSITIONS: Final = 1_500  # thirty seconds as Whisper hears them

Modality: TypeAlias = Literal["vision", "audio"]  # llama-server's words
_ENCODERS: Final[dict[Modality, str]] = {"vision": "v.", "audio": "a."}  # by their tensors' names


def modalities_of(header: GGUFHeader) -> tuple[Modality, ...]:
    """What it has an encoder for."""
    names = [tensor.name for tensor in header.tensors]
    return tuple(
        modality
        for modality, prefix in _ENCODERS.items()
        if any(name.startswith(prefix) for name in names)
    )


def projector_bytes(header: GGUFHeader) -> int:
    """Weights, and the graphs of the largest picture and of thirty seconds, with flash attention:
    one that takes both has two. Raises BadGGUF."""
    if header.architecture != "clip":
        raise BadGGUF("this is no projector (mmproj)")
    weights = sum(tensor.n_bytes for tensor in header.tensors)
    return weights + _picture_bytes(header) + _sound_bytes(header)


def check_projector(header: GGUFHeader, model: GGUFHeader) -> None:
    """Raises BadGGUF when the model can't see or hear through it: made for another width, or to
    speak."""
    if header.architecture != "clip":
        raise BadGGUF("this is no projector (mmproj)", hint="it is named mmproj-….gguf, mostly")
    if header.text("clip.projector_type") in _COUNTS_PICTURES:
        raise BadGGUF("projectors that number the pictures of a prompt aren't served")
    kinds = [kind for kind in map(header.text, _KINDS) if kind]
    if not modalities_of(header) or any(kind.endswith(_SPEAKS) for kind in kinds):
        raise BadGGUF("this projector takes neither pictures nor sound; only these are served")
    if not kinds:
        raise BadGGUF(
            "this projector doesn't say of which kind it is (clip.projector_type)",
            hint="it is of an older llama.cpp: take the mmproj file of another repository",
        )
    width = model.integer(f"{model.architecture}.embedding_length")
    ends = _ends(header)
    if ends and width not in ends:
        raise BadGGUF(
            f"this projector was made for another model: its vectors have {max(ends)} numbers, "
            f"this model's {width}",
            hint="take the mmproj file of the model's own repository",
        )


def _ends(header: GGUFHeader) -> tuple[int, ...]:
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    last = next((name for name in _LAST if name in shapes), None)
    if last is None:
        return ()
    return shapes[last] if last in _EITHER_WAY else shapes[last][-1:]


def _picture_bytes(header: GGUFHeader) -> int:
    """The pixels beside what the encoder needs for their patches."""
    side = header.integer("clip.vision.image_size") or 0
    patch = header.integer("clip.vision.patch_size") or 0
    if not side or not patch:
        return 0
    kinds = map(header.text, _KINDS[:2])
    n_patches = (side // patch) ** 2
    if not _ONE_SIZE.intersection(kinds):
        n_patches = max(n_patches, _MAX_PATCHES)
    pixels = max(side**2, n_patches * patch**2) * _COLOURS * _F32_BYTES
    return pixels + _encoder_bytes(header, "clip.vision", n_patches + 1)  # and one for the class


def _sound_bytes(header: GGUFHeader) -> int:
    """Two steps in time are one position, so what comes in is twice as long and as wide."""
    width = header.integer("clip.audio.embedding_length") or 0
    frames = 2 * _AUDIO_POSITIONS * width * _F32_BYTES
    return frames + _encoder_bytes(header, "clip.audio", _AUDIO_POSITIONS)


def _encoder_bytes(header: GGUFHeader, of: str, n_positions: int) -> int:
    """The worst moment of a block: four vectors and the feed-forward's for each position."""
    width = header.integer(f"{of}.embedding_length") or 0
    n_ff = header.integer(f"{of}.feed_forward_length") or 0
    return n_positions * (4 * width + n_ff) * _F32_BYTES
