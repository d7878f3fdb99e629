"""What copying conversations out of the KV memory and back may take of a step."""

UNNOTICED_RATIO = 0.03  # of what a step takes anyway: for what nobody waits for, in pieces
WHOLE_RATIO = 0.1  # of the time between two tokens: for what nobody waits for and can't be cut
EVICTED_RATIO = 1.0  # of the same: what a prompt's part of a step may take, and it saves many steps
AWAITED_RATIO = 0.3  # of the time between two tokens: for what somebody waits for
