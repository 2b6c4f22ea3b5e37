"""A test of your own kernel: `pytest test_attention.py`, with ringproof installed."""

from attention_numpy import attention

CASES = [
    "fwd/fp32/b1.hq4.hkv2.sq37.skv50.dqk16.dv16/causal_bottom_right/scale0.25/gauss:7/bhsd/single",
    "fwd/bf16/b2.hq2.hkv2.sq16.skv64.dqk16.dv16/window(7,0)/scale0.25/walsh_probe:1/bshd/single",
]


def test_attention_is_accepted(ringproof):
    verdict = ringproof.check(attention, cases=CASES)
    assert verdict.count_accepted == 2
