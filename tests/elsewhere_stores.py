"""Stores of other tools, written as these tools write them; the demo model is what lies in them."""

import hashlib
import json
import os
from pathlib import Path

from edgellm import resources

DEMO = resources.demo_model().read_bytes()
_PREFIX = "application/vnd.ollama.image."


def layer(kind, digest, size):
    return {"mediaType": f"{_PREFIX}{kind}", "digest": digest, "size": size}


def manifest(*layers, **other):
    """Source: Ollama's manifest/manifest.go, MarshalJSON."""
    config = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": f"sha256:{'a' * 64}",
        "size": 487,
    }
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": config,
        "layers": [*layers],
        **other,
    }


class OllamaStore:
    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "blobs").mkdir(parents=True)

    def blob(self, data: bytes) -> str:
        """Its digest, as manifests have it."""
        digest = hashlib.sha256(data).hexdigest()
        (self.root / "blobs" / f"sha256-{digest}").write_bytes(data)
        return f"sha256:{digest}"

    def layer(self, kind: str, data: bytes) -> dict:
        return layer(kind, self.blob(data), len(data))

    def path(self, name: str) -> Path:
        """Of "registry.ollama.ai/library/qwen3:8b"; the host and "library" may be left out."""
        head, _, tag = name.rpartition(":")
        parts = head.split("/")
        parts = ["registry.ollama.ai", "library", "x"][: 3 - len(parts)] + parts
        return self.root.joinpath("manifests", *parts, tag)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def add(self, name: str, data: bytes = DEMO, projector: bytes | None = None) -> Path:
        """The blob of a model that is pulled."""
        layers = [self.layer("model", data), self.layer("template", b"{{ .Prompt }}")]
        if projector is not None:
            layers.append(self.layer("projector", projector))
        self.write(name, json.dumps(manifest(*layers)))
        return self.root / "blobs" / layers[0]["digest"].replace(":", "-")

    def add_linked(self, name: str, document: dict) -> Path:
        """As newer versions do: manifests-v2, and the name a link to a blob (LinkManifest)."""
        digest = self.blob(json.dumps(document).encode())
        host, *rest = self.path(name).relative_to(self.root / "manifests").parts
        host = "ollama.com" if host == "registry.ollama.ai" else host
        path = self.root.joinpath("manifests-v2", host, *rest)
        path.parent.mkdir(parents=True, exist_ok=True)
        blob = self.root / "blobs" / digest.replace(":", "-")
        path.symlink_to(os.path.relpath(blob, path.parent))
        return path


def put(folder: Path, name: str, data: bytes = DEMO) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def snapshot(root: Path) -> dict[str, tuple[int, int, int]]:
    """All that is below a folder: what must stay as it is."""
    found = ((path, path.lstat()) for path in sorted(root.rglob("*")))
    return {str(path): (at.st_mode, at.st_size, at.st_mtime_ns) for path, at in found}
