"""From a conversation to a prompt: Jinja that a stranger wrote, run within bounds. Pure.

`template` renders in a `sandbox` with an `allowance` of work and text, which `filters` and what is
written into the `tree` ask; `growth` says how long a text would become, `walking` how much there is
in a value. A `script` is one such source, `trials` find out what it knows; `alternating`,
`answering`, `arguments`, `responses` and `systems` shape what it is given to that.
"""
