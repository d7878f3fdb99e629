"""What copying conversations out of the KV memory and back may take of a step."""

UNNOTICED_RATIO = 0.1  # of what a step takes anyway: for what nobody waits for
AWAITED_RATIO = 0.3  # of the time between two tokens: for what somebody waits for
