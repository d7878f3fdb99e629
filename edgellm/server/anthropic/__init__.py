"""Anthropic's words for chats: a request's bytes in, an answer's bytes out. Pure.

`errors` has an error in its words.
"""
