"""What profiles/ say of machines, and machines that are only described.

`catalog` has devices, `boards` whole machines, `limits` what backends can't do; `described` makes a
machine of names and numbers.
"""
