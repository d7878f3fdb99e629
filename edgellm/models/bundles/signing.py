"""Which signature a bundle gets that is written, or added to.

A key vouches for all that the manifest names, and so for no model that lay there before, unless it
has signed that, too: a stick may have been in other hands. Nor is what somebody has signed changed
without a key, which would leave a signature that is worth nothing.
"""

from pathlib import Path

from edgellm.errors import BadRequest
from edgellm.models.bundles.layout import SIGNATURE
from edgellm.models.bundles.manifest import encode
from edgellm.models.bundles.merging import Merged
from edgellm.models.bundles.sources import FolderSource
from edgellm.models.bundles.ssh_keygen import Signature, key_behind, sign
from edgellm.values import frozen


@frozen
class Signed:
    """The manifest's bytes, and the signature that they get; None: they have it, or none."""

    data: bytes
    signature: Signature | None
    is_new: bool


def signed(root: Path, both: Merged, key: Path | None) -> Signed:
    """Raises BadRequest, BadBundle for what is no signature's file, ConfigError, OSError."""
    there = FolderSource(root).signature()
    if key is None:
        is_left = there is None or both.data == both.old_data
        if not (is_left or key_behind(both.data, there or b"")):
            raise needs_key(root)
        return Signed(both.data, None, is_new=False)
    data = encode(both.manifest)
    # The new manifest, too: an export may have been ended between its signature and its manifest.
    keys = {key_behind(told, there) for told in (both.old_data, data) if told and there}
    signature = sign(data, key)
    if both.kept and signature.key not in keys:
        raise BadRequest(
            f"{', '.join(both.kept)} in {root} is not signed with {key}, and would be by this",
            hint="name it too, and it is what this disk has; or name another place",
        )
    is_new = signature.key not in keys or both.data != both.old_data
    return Signed(data if is_new else both.data, signature, is_new)


def needs_key(place: Path) -> BadRequest:
    return BadRequest(
        f"the bundle {place} is signed, and its signature would not be this one's",
        hint=f"--sign KEY signs it anew; without its {SIGNATURE} it is one that nobody has signed",
    )
