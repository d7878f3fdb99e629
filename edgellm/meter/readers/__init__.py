"""What a device does at this moment, a file for each way to be told.

`nvidia`, `amd` (`amd_metrics`), `intel`, `apple`, `jetson`, `qualcomm` and `raspberry` read what
their makers' drivers say, `tool` what a maker's program prints; `host` is the processor and its
memory. `cards` are the kernel's folders of graphics cards, `bus` is any card's PCIe link, `sysfs`
one value of one of the kernel's files.
"""
