"""Every candidate in every way worth trying, and the best of them. Pure.

`question` is what is asked; `checks` refuses what can't be, `limited` what a backend can't.
`decide` sees through the candidates, at a `glance` first, then by a `search` of each one's
`options` in all `settings`, by their `loads`, `merits` and `paces`; `rollback` says how many
guesses a recurrent state may keep. `variants` refines the winners, `tried` passes over what can no
longer win, `ranking` orders them, `confirm` asks llama.cpp. `pareto` and `alike` are the others
beside the chosen one.
"""
