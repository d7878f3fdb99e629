"""Guessed tokens: where they come from, whether they pay, and how they are checked. Pure.

`speculation` decides how many go into a step. They are looked up in the sequence (`lookup`) or
written by a model (`drafted`; its own head's `trail`). `guessing` and `trust` learn how often they
come true, `outcome` whether that pays, and `verify` samples them in order.
"""
