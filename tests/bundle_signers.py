"""Keys of people who sign bundles, and who is told to have signed one."""

import io
import subprocess
from functools import partial
from pathlib import Path

import bundle_runs

from edgellm.models.bundles.reading import opened
from edgellm.models.bundles.ssh_keygen import Signer

SMALL_NAME = "hf.co/org/small:Q4_0"
made = partial(bundle_runs.made, piece_bytes=3000)


def made_key(folder: Path, name: str, *words: str) -> Path:
    key = folder / name
    subprocess.run(
        ("ssh-keygen", "-q", *(words or ("-t", "ed25519")), "-N", "", "-C", name, "-f", key),
        check=True,
    )
    return key


def public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text().strip()


def listed(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def signer(place: Path | str, signers: Path, stdin: io.BytesIO | None = None) -> Signer | None:
    with opened(str(place), stdin or io.BytesIO(), signers=signers) as bundle:
        return bundle.signed_by


def stop(done: int, total: int, rate: float | None) -> None:
    raise KeyboardInterrupt
