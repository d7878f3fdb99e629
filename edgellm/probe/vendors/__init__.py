"""Accelerators: one file a vendor, which reads the vendor's tools and its driver's files.

`amd` (`gfx`), `apple`, `biren`, `cambricon`, `huawei` (`huawei_links`), `hygon`, `iluvatar`,
`intel`, `jetson`, `metax`, `moorethreads`, `nvidia`, `qualcomm`, `raspberry` and `thead` give
`cards`; where one tool tells what a card is and what it does, that is its `readings`.
"""
