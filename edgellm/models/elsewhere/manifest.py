"""Ollama's manifests: which blobs a model is made of.

Sources, in Ollama's repository: manifest/manifest.go and layer.go (the shapes), manifest/paths.go
(what a digest may be), server/images.go (which layer means what). A manifest was written by
whoever published the model, so a digest becomes a file's name only as a BlobDigest.
"""

import re
from typing import Annotated, Any, Final

import msgspec

from edgellm.errors import BadGGUF, EdgellmError, ModelNotFound
from edgellm.values import frozen

MAX_BYTES: Final = 4 << 20  # one of MLX names each tensor: some thousand layers of 200 bytes
_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_KIND: Final = "application/vnd.ollama.image."
_GGUF_RUNNERS: Final = ("ollama", "llamacpp")  # of a list's entries; the other is "mlx"


class BlobDigest:
    """Of a stranger's words: 64 digits, or there is none. Raises ValueError.

    No dataclass: msgspec would make one of an object, past this check.
    """

    __slots__ = ("file_name",)

    def __init__(self, text: str) -> None:
        match = _DIGEST.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is no sha256 digest")
        self.file_name: Final = f"sha256-{match[1].lower()}"


class Layer(msgspec.Struct, frozen=True):
    digest: BlobDigest
    size: Annotated[int, msgspec.Meta(ge=0)]
    media_type: str = msgspec.field(name="mediaType")

    @property
    def kind(self) -> str:
        """ "model", "projector", "adapter", "tensor" …; what may follow a semicolon is its name."""
        return self.media_type.partition(";")[0].strip().removeprefix(_KIND)


class Manifest(msgspec.Struct, frozen=True):
    """`layers` None: a model of Ollama's cloud, or an entry of a list that names another blob."""

    layers: tuple[Layer, ...] | None = None
    manifests: "tuple[Manifest, ...] | None" = None  # a list: the same model for several runners
    digest: BlobDigest | None = None
    runner: str = ""
    format: str = ""

    def of_kind(self, kind: str) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers or () if layer.kind == kind)

    def for_llama_cpp(self) -> "Manifest":
        """Itself, or that of a list's entries. Raises BadGGUF when there is none."""
        if self.manifests is None:
            return self
        for runner in _GGUF_RUNNERS:
            for entry in self.manifests:
                if entry.runner.lower() == runner and entry.manifests is None:
                    return entry
        raise BadGGUF("it is here for MLX alone", hint="another tag of it may be a GGUF")


@frozen
class Parts:
    model: Layer
    projector: Layer | None = None
    adapters: tuple[Layer, ...] = ()


def decode(data: bytes) -> Manifest:
    """Raises BadGGUF."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadGGUF(
            f"its manifest can't be read: {error}", hint="pull it with Ollama again"
        ) from error


def parts_of(manifest: Manifest) -> Parts:
    """Raises BadGGUF, ModelNotFound for what llama.cpp can't load."""
    models = manifest.of_kind("model")
    if not models:
        raise _no_model(manifest)
    if len(models) > 1:
        raise BadGGUF(
            f"Ollama keeps it in {len(models)} pieces, whose names llama.cpp can't put together",
            hint="edgellm pull fetches models that are whole",
        )
    return Parts(
        models[0], next(iter(manifest.of_kind("projector")), None), manifest.of_kind("adapter")
    )


def _no_model(manifest: Manifest) -> EdgellmError:
    if not manifest.layers:
        return ModelNotFound("Ollama runs it in its cloud: no file of it is here")
    if manifest.of_kind("tensor"):
        return BadGGUF(
            "Ollama keeps it tensor by tensor, for MLX, and not as a GGUF",
            hint="another tag of it may be a GGUF",
        )
    return BadGGUF("its manifest names no model")


def _checked(kind: type, value: Any) -> Any:
    """What msgspec doesn't know by itself. Raises ValueError, which becomes a ValidationError."""
    if kind is BlobDigest and isinstance(value, str):
        return BlobDigest(value)
    raise ValueError(f"{value!r} is no digest")


_decoder: Final = msgspec.json.Decoder(Manifest, dec_hook=_checked)
