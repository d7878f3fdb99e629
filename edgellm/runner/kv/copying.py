"""What copying conversations out of the KV memory and back may take of a step's time."""

UNNOTICED_RATIO = 0.03  # of the step's own time: copies that nobody waits for, in pieces
# Of the target between two tokens:
WHOLE_RATIO = 0.1  # copies that nobody waits for, but that can't be cut
AWAITED_RATIO = 0.3  # copies that somebody waits for
EVICTED_RATIO = 1.0  # whole conversations that make room: as a prompt's chunk, but it saves many
