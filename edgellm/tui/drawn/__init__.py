"""What is on the screens, as plain values: a view and a size in, lines out. Pure.

`dashboard` puts the cards together: `model`, `devices`, `speed`, `sequences`, `log`; `small` does
where no card has room. `details` and `legend` are the sheets. They are made of `lines`, `numbers`,
`braille` and `untrusted`, which cleans a server's words.
"""
