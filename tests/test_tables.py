from edgellm.tables import bullets, fitting, short_name, table, wrapped


def test_a_table_aligns_its_columns():
    rows = [("qwen3:8b", "5.0 GiB"), ("x", "10.1 GiB")]

    assert table(("NAME", "SIZE"), rows, right="SIZE") == (
        "NAME          SIZE\nqwen3:8b   5.0 GiB\nx         10.1 GiB"
    )


def test_a_table_without_rows_is_its_headings():
    assert table(("NAME", "SIZE"), []) == "NAME  SIZE"


def test_the_last_column_is_wrapped_under_itself():
    rows = [("a", "one two three four five six seven eight")]

    assert table(("NAME", "WHY"), rows, columns=30).splitlines() == [
        "NAME  WHY",
        "a     one two three four five",
        "      six seven eight",
    ]


def test_columns_go_in_their_order_until_the_rest_fits():
    def shown(columns):
        text = fitting(
            ("A", "B", "C", "WHY"), [("aaaaaaaa", "bbbbbbbb", "cccccccc", "w" * 20)],
            columns=columns, may_go=("C", "A"),
        )  # fmt: skip
        return text.split("\n")[0].split()

    assert shown(50) == ["A", "B", "C", "WHY"]
    assert shown(49) == ["A", "B", "WHY"]
    assert shown(39) == ["B", "WHY"]
    assert shown(9) == ["B", "WHY"], "what may not go stays"


def test_a_narrow_screen_still_gets_a_last_column():
    assert table(("NAME", "WHY"), [("a" * 40, "short words")], columns=10).endswith("short words")


def test_an_empty_text_is_one_empty_line():
    assert wrapped("", 10) == [""]


def test_a_word_that_is_too_long_stays_whole():
    assert wrapped("see /a/very/long/path", 8) == ["see", "/a/very/long/path"]


def test_a_bullets_next_lines_stand_under_its_first_word():
    assert list(bullets(["one two three"], 12)) == ["  · one two", "    three"]


LONG = "hf.co/unsloth/Qwen3-Coder-480B-A35B-Instruct-GGUF:UD-Q4_K_XL"


def test_a_name_that_leaves_no_room_stands_above_its_row():
    rows = [(LONG, "276.8 GiB", "today"), ("demo", "3.7 MiB", "ships with edgellm")]

    assert fitting(("NAME", "SIZE", "MODIFIED"), rows, columns=60, right="SIZE", above=True).split(
        "\n"
    ) == [
        "NAME",
        "       SIZE  MODIFIED",
        LONG,
        "  276.8 GiB  today",
        "demo",
        "    3.7 MiB  ships with edgellm",
    ]


def test_names_go_above_before_a_column_goes():
    headings, rows = ("NAME", "STATE", "QUANT"), [("n" * 30, "ready", "UD-Q4_K_XL")]

    def shown(columns):
        may_go = ("QUANT",)
        return fitting(headings, rows, columns=columns, may_go=may_go, above=True).split("\n")[:2]

    whole = [f"{'NAME':<30}  STATE  QUANT", f"{'n' * 30}  ready  UD-Q4_K_XL"]
    assert shown(None) == shown(60) == whole
    assert shown(40) == ["NAME", "  STATE  QUANT"]
    assert shown(12) == ["NAME", "  STATE"]


def test_of_a_devices_name_goes_first_what_others_share():
    name = "NVIDIA GeForce RTX 4090"

    assert short_name(name, 23) == name
    assert short_name(name, 22) == short_name(name, 16) == "GeForce RTX 4090"
    assert short_name(name, 15) == short_name(name, 3) == "RTX 4090"
    assert short_name("AMD EPYC 9654 96-Core Processor", 22) == "AMD EPYC 9654 96-Core"
    assert short_name("Intel(R) Core(TM) i7-1165G7", 20) == "Intel Core i7-1165G7"
