"""From a conversation to a prompt: Jinja that a stranger wrote, run within bounds. Pure.

`template` renders in a `sandbox` with an `allowance` of work and text; `growth` says how long a
text would become. `trials` find out what a template knows, `responses` shapes results of calls.
"""
