"""Accelerators, a file for each vendor: it reads what its maker's tools and files say.

`amd` (`gfx`), `apple`, `biren`, `cambricon`, `huawei` (`huawei_links`), `hygon`, `iluvatar`,
`intel`, `jetson`, `metax`, `moorethreads`, `nvidia`, `qualcomm`, `raspberry` and `thead` give
`cards`; where one tool tells what a card is and what it does, that is its `readings`.
"""
