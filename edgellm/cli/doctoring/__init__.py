"""What `edgellm doctor` looks at, and what it says of it.

`checks` gathers and looks at the installation, `hardware_checks` at the machine, `split_check` at
what is served, `hub_check` at where models come from; a `findings` is what comes of each.
"""
