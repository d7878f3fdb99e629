import json

import pytest
from cli_runs import DEMO_PATH


@pytest.mark.model
def test_the_command_answers_without_a_server(home):
    done = home.run(
        "cost", str(DEMO_PATH), "--capex", "1000", "--tok-s", "50", "--json", "--offline"
    )
    told = json.loads(done.out)

    assert done.code == 0, done.err
    assert told["pace"]["tok_s"] == 50
    assert told["per_million"]["purchase"] == pytest.approx(1000 / 3 / 8760 / 0.18)
    assert len(told["cloud"]) == 6
