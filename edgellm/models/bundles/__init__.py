"""Models on their way to a machine without network, in a folder or a tar.

A bundle is a hub: `hub` answers from one what huggingface.co would, so `importing` is a download,
with its journal, lock, digests and all. `manifest` says what is in a bundle, `layout` where,
`readme` what people there read. `gathering` finds what belongs to a model here, `copying` reads it,
`writing` puts it into a `folder` (`merging`: beside what that has) or a `tarball` (`tar` is the
format), with the signature that `signing` decides on and `ssh_keygen` makes. `reading` opens what
`sources` hold again, `verifying` holds what lies on a disk against its digests.
"""
