"""How sources are asked: side by side, not longer than each may take, and not again for nothing.

`evidence` is what they said; `asking` waits no longer than it must, `hangs` remembers who gave no
answer, `recall` what was said before, both for this boot (`boots`); `keeping` is where they are
written.
"""
