"""What an answer must look like, in the words that llguidance understands. Pure.

`gbnf` is llama.cpp's grammar language; `to_lark` writes it in llguidance's, by what `facts` are
known of it. `lark` are the grammars that we write, `repeats` how large a regular expression is, and
`json_schema` what of a schema llguidance can be given.
"""
