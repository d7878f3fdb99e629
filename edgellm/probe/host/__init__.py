"""The machine around the accelerators.

`host` is all of it: the `cpu` (`arm_parts`, `numa`, `numbers`), the memory (`dimms`, `bandwidth`),
and what a container may use of both (`cgroup`).
"""
