"""What a process may touch that reads a stranger's file natively.

`rules` says what that is, `places` what this machine's Python and llama.cpp stand in; `confine`
tries the rules before it binds itself to them, by the kernel: `landlock`, and `seccomp` for what
that leaves open. `entering` is a worker's way in.
"""
