"""Who has used what: counts of a day by key and model, and no word of what was said.

`counts`: what is counted, and how it adds up. `diary`: a small file for each day, on this disk.
"""
