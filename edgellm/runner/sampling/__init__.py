"""What may be drawn, from which tokens, by which samplers. Pure.

`recipe` is what a request asks for, `preselect` the few tokens that it can choose, `logprobs` what
is told of them. `masks` are structures as tokens, `staged` those that begin later: its `stages`
and those of `thinking`. `vocabulary` is what they need to know of the tokens' texts.
"""
