"""Models that are loaded when they are asked for, and make place for one another.

`room` says who is in memory and who goes for whom, `caretaker` makes it so, and `engine` is such a
model as the rest of the program sees it.
"""
