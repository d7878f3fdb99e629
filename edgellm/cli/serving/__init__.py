"""One server from start to end, and how the commands find one.

`serving` is its life, `engines` what it starts and stops, `loading` and `ready` what is shown and
said meanwhile; `sharing` says what those that take turns may have of the machine, `shelf_watch`
serves what comes to this disk, `pulling` brings it there for a client and `removing` takes it away;
`upgrade` swaps the demo for a real model, `salvage` saves a model from a lost device, `observing`
tells the calibrations, but not while others keep the machine `busy`. `background` and `private` are
servers for a command's time, `screen` is the terminal UI in front of one. `state` knows which run
and `process_identity` whose process that is, `find` which is meant, `already` which has the place
that another wants, `trust` is whose certificate is believed, `certificate_renewal` its renewal,
`client` talks to it (`async_client` in an event loop), `ending` stops it. `mirroring` is the life
of a mirror, which has no engine.
"""
