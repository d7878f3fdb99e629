"""What is this machine: facts about devices and memory, from every source that will speak."""
