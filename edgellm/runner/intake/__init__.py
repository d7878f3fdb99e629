"""What is asked of a model, on its way to tokens and rows. Pure.

`prompt` and `inputs` are tokens, with `pictures` at their `positions` among them; `questions` and
`infill` ask for something other than the next text, `embedding` packs what is no conversation.
`preparing` are those who wait for a thread, `beside` what the threads send back.
"""
