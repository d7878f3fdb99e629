"""What a model consists of, as far as it takes memory or time. Read by `spec.py` and the selector.

`memory_kinds` is what each layer keeps for a sequence, `tensor_types` which weights lie in which
type, `graph_facts` what makes a compute graph large. `adapters` are LoRAs, `projectors` encoders
of pictures and sound.
"""
