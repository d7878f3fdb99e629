"""What the command line may say.

Dataclasses of options that commands share: `adapting`, `cost_inputs`, `described`, `drafting`,
`listening`, `options`, `pins`, `seeing`. `signature` makes a command's parameters of them,
`coercion` values of words, `help` their pages; `model_options` are what they say of one model,
`tables` what the settings say of it in the same words, `table_names` whom they mean; `completing`
and `bash_words` are what Tab offers. `addresses` says where a server is, `keys` which key it is
sent.
"""
