"""What may be drawn, from which tokens, by which samplers. Pure.

`recipe` is what a request asks for, `preselect` the few tokens that it can choose, `logprobs` what
is told of them. `masks` are structures as tokens, `stages` where they begin, `vocabulary` what they
need to know of the tokens' texts.
"""
