"""What may be drawn, from which tokens, by which samplers. Pure.

`recipe` is the plan of one request's sampling, `preselect` finds the few tokens that it can choose,
`logprobs` is what is told of them. `masks` are structures as token masks; `staged` ones consist of
several `stages`, those of `thinking` among them. `vocabulary` is what they need to know of tokens'
texts.
"""
