"""What `edgellm doctor` looks at, and what it says of it.

`checks` gathers and looks at the installation, `hardware_checks` at the machine, `split_check` at
what is served; a `findings` is what comes of each.
"""
