"""Records of events as a relay changes them."""

from __future__ import annotations

import json

from inside import encode_relayed, without_pid
from inside_log import codec


def test_a_relayed_record_says_where_it_is_from():
    text = encode_relayed("s", "e", [1], None, 5, "höst", "1-2")
    assert json.loads(text[:-1]) == [5, "s", "e", [1], None, "höst", "1-2"]
    text = encode_relayed("s", "e", [1], "key", 5, "host", "1-2")
    assert json.loads(text[:-1]) == [5, "s", "e", [1], "key", "host", "1-2"]


def test_a_stream_gets_it_without_the_pid():
    assert without_pid(codec.encode("s", "e", [1, 2], "k")) == b'["s","e",[1,2],"k"]'
