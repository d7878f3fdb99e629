"""What is asked of a model, on its way to tokens and rows. Pure.

`prompt` and `inputs` make tokens, with `pictures` among them at their `positions`. `questions` and
`infill` ask for something other than the next text; `embedding` packs what is no conversation.
`preparing` are requests that wait for another thread, `beside` is what the threads send back.
"""
