"""From a program's facts and a server's to the program, started: `apps` reads profiles/apps.toml,
`wiring` makes of both a command, its environment and its files, `fitness` tells what the server
lacks for it, `place` finds the server or starts a private one, `starting` runs the program."""
