"""Commands that plan, for this machine and for described ones."""

import json
import re


def test_plan_explains_and_has_a_documented_json(here):
    told = json.loads(here("plan", "qwen3:8b", "--on", "rtx4090", "--json").out)

    assert told["plan"]["fits"] is True
    assert told["plan"]["decode_tok_s"]["p10"] <= told["plan"]["decode_tok_s"]["p90"]
    assert told["rejected"]


def test_what_does_not_fit_is_exit_code_5_with_what_would_fit_instead(here):
    done = here("plan", "qwen3:235b-a22b", "--on", "rpi5")

    assert done.code == 5
    assert "does not fit" in done.err
    assert re.search(r"--on \S+: \S+, 4 × \d+ tokens", done.out)


def test_what_does_not_fit_is_told_what_this_machine_holds_before_others_are(here):
    done = here("plan", "qwen3:8b:Q8_0", "--on", "rpi5", "--ctx", "8192")
    own, ranked, *others = (line for line in done.out.splitlines() if line.startswith("  · "))

    assert re.match(r"  · as qwen3:8b:(\S+): \1, \d × 8192 tokens", own)
    assert ranked.startswith("  · edgellm recommend --on rpi5: ")
    assert "a smaller model (edgellm recommend --on rpi5 ranks" in done.err
    assert len(others) == 3
    assert all(line.startswith("  · --on ") for line in others)


def test_what_is_slow_on_a_described_machine_is_told_what_suits_that_machine(here):
    words = "plan", "qwen3:8b", "--on", "rpi5", "--json"
    why = json.loads(here(*words).out)["plan"]["reasons"][0]

    assert why.endswith(": a smaller model would suit better (`edgellm recommend --on rpi5`)")


def test_who_asks_for_this_machine_is_not_sent_to_another(here):
    done = here("plan", "demo", "-c", "1000000000", "--parallel", "1")

    assert done.code == 5
    assert "· without -c: F16, 1 × 1024 tokens" in done.out
    assert "· edgellm recommend: " in done.out
    assert "--on" not in done.out + done.err


def test_the_json_of_what_does_not_fit_says_so(here):
    done = here("plan", "qwen3:235b-a22b", "--on", "rpi5", "--json")
    told = json.loads(done.out)

    assert done.code == 5
    assert told["plan"]["fits"] is False
    assert "does not fit" in told["plan"]["reasons"][0]


def test_a_draft_model_that_does_not_fit_is_told_as_json_too(here):
    draft = ("--draft", "qwen3:235b-a22b")
    done = here("plan", "qwen3:0.6b", *draft, "--on", "rpi5", "--json")
    told = json.loads(done.out)

    assert done.code == 5
    assert told["plan"]["fits"] is False
    assert re.match(r"qwen3:235b-a22b .* does not fit", told["plan"]["reasons"][0])


def test_a_board_that_was_named_and_serves_nobody_is_said_to(here):
    words = "plan", "qwen3:8b", "--users", "5", "--on", "rtx4090"
    done = here(*words, "--on", "rpi5")
    assert done.err == "left out, which serve not even one user as asked: rpi5\n"
    assert "rtx4090" in done.out
    assert here(*words).err == ""


def test_boards_are_sized_for_many_users(here):
    words = (
        "plan",
        "qwen3:8b",
        "--users",
        "50",
        "--tok-s",
        "20",
        "--on",
        "rtx4090",
        "--on",
        "rpi5",
    )
    (row,) = json.loads(here(*words, "--json").out)["boards"]
    text = here(*words).out

    assert (row["board"], row["binding"]) == ("rtx4090", "tok/s")
    assert row["n_boards"] * row["n_users"] >= 50
    counts = " +".join(str(row[name]) for name in ("n_boards", "n_devices", "n_users"))
    assert re.search(rf"^rtx4090 +{counts} ", text, re.MULTILINE)


def test_a_demand_that_no_board_meets_is_exit_code_5(here):
    done = here("plan", "qwen3:8b", "--users", "5", "--tok-s", "9000", "--on", "rpi5")

    assert (done.code, done.out) == (5, "")
    assert done.err.startswith("edgellm: rpi5 doesn't hold even one user of qwen3:8b at 9000")


def test_where_no_model_is_as_fast_as_asked_the_hint_is_for_the_same_machine(here):
    done = here("recommend", "--on", "rpi5", "--min-tok-s", "100000")

    assert done.code == 5
    assert done.err.endswith(": edgellm plan qwen3:0.6b --on rpi5\n")


def test_models_are_recommended_for_a_described_machine(here):
    told = json.loads(here("recommend", "--on", "rpi5", "--json").out)
    text = here("recommend", "--on", "rpi5").out

    assert 1 <= len(told) <= 10
    assert all(row["decode_tok_s"]["p50"] > 0 for row in told)
    assert f"edgellm plan {told[0]['model']} --on rpi5" in text


def test_devices_can_be_described_one_by_one(here):
    words = ("--device", "RTX 3090", "--device", "cuda:8GiB@256", "--ram", "32GiB@40", "--json")
    told = json.loads(here("plan", "qwen3:8b", *words).out)

    assert told["plan"]["devices"][0]["id"] == "cuda:0"


def test_a_pinned_number_is_obeyed(here):
    args = ("plan", "demo", "--ctx", "512", "--parallel", "3", "-ctk", "q8_0", "-t", "1", "--json")
    plan = json.loads(here(*args).out)["plan"]

    pinned = {key: plan[key] for key in ("n_ctx_seq", "n_parallel", "kv_type_k", "n_threads")}
    assert pinned == {"n_ctx_seq": 512, "n_parallel": 3, "kv_type_k": "q8_0", "n_threads": 1}


def test_a_micro_batch_beyond_the_context_is_cut_as_llama_cpp_cuts_it(here):
    plan = json.loads(here("plan", "demo", "-ub", "2147483647", "--json").out)["plan"]

    assert plan["n_ubatch"] == plan["n_ctx"]
    assert plan["prefill_tok_s"]["p50"] > 1
