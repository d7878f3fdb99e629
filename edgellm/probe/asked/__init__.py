"""How sources are asked: in parallel, each with a time limit, and not again without need.

`evidence` asks for the readers and records every answer and fault. `asking` runs a question on a
thread. `hangs` skips programs that gave no answer before, `cached_answers` repeats what programs
said, both until the next boot (`boot_id`); `cache_files` is where the two keep it.
"""
