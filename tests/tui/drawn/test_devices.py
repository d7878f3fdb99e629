from tui_samples import device

from edgellm.tui.drawn.devices import labels


def named(*rows):
    return labels([device(name=name, backend=backend) for name, backend in rows])


def test_cards_of_one_name_are_counted_and_others_are_not():
    rows = [("RTX 3090", "cuda"), ("RTX 3090", "cuda"), ("EPYC 7003", "cpu")]
    assert named(*rows) == ["0 RTX 3090", "1 RTX 3090", "EPYC 7003"]


def test_a_chips_graphics_are_told_from_its_processor():
    assert named(("Apple M4", "metal"), ("Apple M4", "cpu")) == ["Apple M4 GPU", "Apple M4 CPU"]
