"""What a server tells, and how it is asked.

`client` asks, `auth` with an API key; `follower` does so every second for whoever shows it. A
chat's `questions` become bytes and its `answers` pieces; an `exchange` carries both. A `recording`
keeps what was told, `replay` plays it.
"""
