"""What this machine is: facts about its devices and memory, from every source that answers."""
