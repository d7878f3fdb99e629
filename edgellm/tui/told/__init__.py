"""What a server tells, and how it is asked.

`client` asks, `signing` its requests with a key; `follower` does so every second for whoever shows
it; `answers` takes a chat's stream apart. A `recording` keeps what was told, `replay` plays it.
"""
