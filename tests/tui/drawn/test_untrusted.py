from tui_samples import device, downloading, model, ordinary, plan

from edgellm.tui.drawn.untrusted import clean


def test_a_status_is_cleaned_everywhere():
    bad = "x\x1b]52;c;ZXZpbA==\x07\u202ey"
    status = ordinary(
        version=bad,
        models=(model(name=bad, detail=bad, plan=plan(file=bad, reasons=(bad,))),),
        devices=(device(name=bad, throttle=(bad,)),),
        log=(bad,),
        download=downloading(name=bad, error=bad),
    )

    shown = repr(clean(status))

    assert "\\x1b" not in shown
    assert "\\u202e" not in shown
    assert shown.count("xy") == 10
    assert clean(ordinary()) == ordinary()
