import pytest

from edgellm.runner.kv.prefix_file import HEAD_BYTES, Broken, Seal, Stored, chain_key, prefix_names

TOKENS = (5, 6, 7)
STORED = Stored(chain_key(b"", TOKENS), b"", 0, TOKENS, 4)
SEAL = Seal(b"secret", b"model")


def split(data):
    return data[:HEAD_BYTES], data[HEAD_BYTES:]


def test_a_header_comes_back_as_it_went():
    head, header = split(SEAL.head(STORED))
    assert SEAL.header_bytes(head) == len(header)
    assert SEAL.read_header(head, header) == STORED


@pytest.mark.parametrize("seal", [Seal(b"another", b"model"), Seal(b"secret", b"other model")])
def test_what_another_user_or_another_model_wrote_is_not_read(seal):
    with pytest.raises(Broken, match="not ours, or of another model"):
        SEAL.read_header(*split(seal.head(STORED)))


def test_no_byte_of_a_header_can_be_changed():
    whole = SEAL.head(STORED)
    for i in range(len(whole)):
        changed = bytearray(whole)
        changed[i] ^= 1
        head, header = split(bytes(changed) + b"the payload" * 1000)
        with pytest.raises(Broken):
            SEAL.read_header(head, header[: SEAL.header_bytes(head)])


def test_a_header_cannot_claim_other_tokens_than_its_key_names():
    lying = Stored(STORED.key, b"", 0, (5, 6, 8), 4)
    with pytest.raises(Broken, match="other tokens"):
        SEAL.read_header(*split(SEAL.head(lying)))


@pytest.mark.parametrize("head", [b"", b"x" * HEAD_BYTES, b"edgekv1\n" + b"\xff" * 36])
def test_what_is_no_file_of_ours_is_told_so(head):
    with pytest.raises(Broken):
        SEAL.header_bytes(head)


def test_a_payload_is_believed_with_its_own_mac_only():
    head = SEAL.head(STORED)
    mac = SEAL.tail(head, b"cell")
    SEAL.check_payload(head, b"cell", mac)
    for payload, tail in ((b"cels", mac), (b"cel", mac), (b"cell", mac[:-1]), (b"cell", b"")):
        with pytest.raises(Broken, match="changed or cut"):
            SEAL.check_payload(head, payload, tail)
    other = SEAL.head(Stored(chain_key(b"", (9,)), b"", 0, (9,), 4))
    with pytest.raises(Broken):
        SEAL.check_payload(other, b"cell", mac)


def test_a_key_names_the_whole_way_from_the_root():
    root = chain_key(b"", (1, 2))
    assert chain_key(root, (3,)) != chain_key(b"", (1, 2, 3)) != chain_key(b"", (3,))
    assert chain_key(root, (3,)) == chain_key(chain_key(b"", (1, 2)), (3,))


def test_prefixes_are_named_as_chains_from_the_root():
    tokens = [*range(40)]
    names = list(prefix_names(tokens, [0, 3, 3, 40]))
    assert names == [chain_key(b"", tokens[:length]) for length in (0, 3, 3, 40)]
