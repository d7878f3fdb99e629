"""A plan, or that there is none, in words and as JSON. Pure.

`explain` and `plan_json` tell a plan, with its `reasons`, what bound its `contexts`, why it has
`streams`, what was `rejected`, what `weighed` and how devices are called (`describe`); `refusal`
says why there is none, and `instead` what would fit.
"""
